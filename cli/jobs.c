/*
 * jobs.c - from operands to a list of files to work on; see jobs.h.
 */
#include "cli/jobs.h"
#include "cli/file.h"
#include "cli/text.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const vqz_extensions[] = { "vqz", NULL };

enum { MAX_FOLDER_DEPTH = 100 };

/* Takes ownership of input, also on failure.  relative is what is mirrored below -o. */
static vqz_status add_job(job_list *list, const job_rules *rules, char *input,
                          const char *relative, bool into_folder) {
    if (input == NULL)
        return VQZ_ERROR_MEMORY;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        job *jobs = realloc(list->jobs, capacity * sizeof *jobs);
        if (jobs == NULL) {
            free(input);
            return VQZ_ERROR_MEMORY;
        }
        list->jobs = jobs;
        list->capacity = capacity;
    }
    job *j = &list->jobs[list->count];
    *j = (job){ .input = input };
    if (rules->new_extension != NULL) {
        if (into_folder) {
            char *name = path_replace_extension(relative, rules->new_extension);
            j->output = name == NULL ? NULL : path_join(rules->output, name);
            j->mirrored = true;
            free(name);
        } else if (rules->output != NULL) {
            j->output = text_format("%s", rules->output);
        } else if (strcmp(input, "-") == 0) {
            j->output = text_format("-");
        } else {
            j->output = path_replace_extension(input, rules->new_extension);
        }
        if (j->output == NULL) {
            free(input);
            return VQZ_ERROR_MEMORY;
        }
    }
    list->count++;
    return VQZ_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder, sorted, so that every run takes them in the same order. */
static vqz_status list_folder(const char *path, text_list *names, vqz_diag *diag) {
    DIR *folder = opendir(path);
    if (folder == NULL)
        return vqzi_fail(diag, VQZ_ERROR_IO, "cannot open the folder: %s", strerror(errno));
    vqz_status status = VQZ_OK;
    for (struct dirent *entry; status == VQZ_OK && (entry = readdir(folder)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = text_list_add(names, text_format("%s", entry->d_name));
    closedir(folder);
    if (status == VQZ_OK && names->count > 0)
        qsort(names->items, names->count, sizeof *names->items, compare_names);
    return status;
}

/* Adds the files below a folder.  Linked files are taken, linked folders are not: they could lead
   in circles.  Recursion is bounded. */
static vqz_status walk(job_list *list, const job_rules *rules, const char *folder,
                       const char *relative, bool into_folder, int depth, report *r) {
    text_list names = { 0 };
    vqz_diag diag = { "" };
    vqz_status status = list_folder(folder, &names, &diag);
    if (status == VQZ_ERROR_IO) {
        report_error(r, folder, "%s", diag.message);
        list->failed++;
        status = VQZ_OK;
    }
    for (size_t i = 0; status == VQZ_OK && i < names.count; i++) {
        struct stat facts;
        char *path = path_join(folder, names.items[i]);
        char *below = relative[0] == '\0' ? text_format("%s", names.items[i])
                                          : path_join(relative, names.items[i]);
        if (path == NULL || below == NULL) {
            status = VQZ_ERROR_MEMORY;
        } else if (lstat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) {
            if (depth < MAX_FOLDER_DEPTH) {
                status = walk(list, rules, path, below, into_folder, depth + 1, r);
            } else {
                report_error(r, path, "is nested too deeply; left out");
                list->failed++;
            }
        } else if (!path_has_extension(path, rules->extensions)) {
            report_note(r, path, "left out, not among the %s", rules->what);
        } else if (stat(path, &facts) == 0 && !S_ISDIR(facts.st_mode)) {
            status = add_job(list, rules, path, below, into_folder);
            path = NULL;
        }
        free(path);
        free(below);
    }
    text_list_clear(&names);
    return status;
}

/* ---- outputs that would fall on each other ---- */

static int compare_outputs(const void *a, const void *b) {
    const job *x = *(const job *const *)a, *y = *(const job *const *)b;
    int order = strcmp(x->output, y->output);
    return order != 0 ? order : (x > y) - (x < y); /* the first operand comes first */
}

/* a.png and a.jpg both become a.vqz: the first is made, the second reported. */
static vqz_status remove_duplicates(job_list *list, report *r) {
    if (list->count < 2 || list->jobs[0].output == NULL)
        return VQZ_OK;
    const job **sorted = malloc(list->count * sizeof *sorted);
    bool *duplicate = calloc(list->count, sizeof *duplicate);
    vqz_status status = VQZ_ERROR_MEMORY;
    if (sorted == NULL || duplicate == NULL)
        goto done;
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = &list->jobs[i];
    qsort(sorted, list->count, sizeof *sorted, compare_outputs);
    for (size_t i = 1, first = 0; i < list->count; i++) {
        if (strcmp(sorted[i]->output, sorted[first]->output) != 0) {
            first = i;
            continue;
        }
        duplicate[sorted[i] - list->jobs] = true;
        report_error(r, report_input_name(sorted[i]->input),
                     "would become %s, as %s does; name its output with -o", sorted[i]->output,
                     report_input_name(sorted[first]->input));
        list->failed++;
    }
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (duplicate[i]) {
            free(list->jobs[i].input);
            free(list->jobs[i].output);
        } else {
            list->jobs[kept++] = list->jobs[i];
        }
    }
    list->count = kept;
    status = VQZ_OK;
done:
    free(sorted);
    free(duplicate);
    return status;
}

/* What looks like the name of one output, which a folder would hardly be called. */
static const char *const output_extensions[] = {"vqz", "png", "pnm", "pgm",  "ppm",
                                                "pam", "jpg", "npy", "jpeg", NULL};

/* Whether -o names a folder: it is one, ends in a slash, or has to hold more than one file. */
static vqz_status output_is_folder(const job_rules *rules, int count, char **operands,
                                   bool *is_folder, vqz_diag *diag) {
    *is_folder = false;
    if (rules->new_extension == NULL || rules->output == NULL)
        return VQZ_OK;
    struct stat facts;
    bool several = count > 1;
    for (int i = 0; i < count && rules->recursive; i++)
        if (stat(operands[i], &facts) == 0 && S_ISDIR(facts.st_mode))
            several = true;
    if (strcmp(rules->output, "-") == 0)
        return !several ? VQZ_OK
                        : vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                                    "standard output takes one file; give -o a folder");
    size_t length = strlen(rules->output);
    bool slash = rules->output[length - 1] == '/';
    bool exists = stat(rules->output, &facts) == 0;
    *is_folder = several || slash || (exists && S_ISDIR(facts.st_mode));
    if (several && exists && !S_ISDIR(facts.st_mode))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "%s is no folder, which -o has to be for several files", rules->output);
    if (several && !exists && !slash && path_has_extension(rules->output, output_extensions))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "-o %s looks like one file, and there are several; make it a folder with "
                         "-o %s/",
                         rules->output, rules->output);
    return VQZ_OK;
}

vqz_status jobs_collect(job_list *list, const job_rules *rules, int count, char **operands,
                        report *r, vqz_diag *diag) {
    *list = (job_list){ 0 };
    bool into_folder;
    VQZ_TRY(output_is_folder(rules, count, operands, &into_folder, diag));
    vqz_status status = VQZ_OK;
    bool seen_stdin = false;
    for (int i = 0; status == VQZ_OK && i < count; i++) {
        struct stat facts;
        const char *operand = operands[i];
        bool standard = strcmp(operand, "-") == 0;
        if (standard && seen_stdin) {
            report_error(r, "standard input", "is given twice and can be read once");
            list->failed++;
        } else if (!standard && stat(operand, &facts) != 0) {
            report_error(r, operand, "cannot open: %s; check the path", strerror(errno));
            list->failed++;
        } else if (!standard && S_ISDIR(facts.st_mode) && !rules->recursive) {
            report_error(r, operand, "is a folder; take the %s in it with -r", rules->what);
            list->failed++;
        } else if (!standard && S_ISDIR(facts.st_mode)) {
            size_t before = list->count, failed = list->failed;
            status = walk(list, rules, operand, "", into_folder, 0, r);
            if (status == VQZ_OK && list->count == before && list->failed == failed) {
                report_error(r, operand, "holds no %s", rules->what);
                list->failed++;
            }
        } else {
            const char *name = standard ? "stdin" : path_name(operand);
            status = add_job(list, rules, text_format("%s", operand), name, into_folder);
            seen_stdin = seen_stdin || standard;
        }
    }
    if (status == VQZ_OK)
        status = remove_duplicates(list, r);
    if (status != VQZ_OK) {
        jobs_clear(list);
        return vqzi_fail(diag, status, "out of memory while listing files");
    }
    return VQZ_OK;
}

void jobs_clear(job_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->jobs[i].input);
        free(list->jobs[i].output);
    }
    free(list->jobs);
    *list = (job_list){ 0 };
}

vqz_status job_prepare(const job *j, bool force, vqz_diag *diag) {
    if (strcmp(j->output, "-") == 0)
        return VQZ_OK;
    struct stat in, out;
    if (strcmp(j->input, "-") != 0 && stat(j->input, &in) == 0 && stat(j->output, &out) == 0 &&
        in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return vqzi_fail(diag, VQZ_ERROR_IO,
                         "is also the input, which is never overwritten; write elsewhere with -o");
    VQZ_TRY(file_check_target(j->output, force, diag));
    if (j->mirrored) {
        char *folder = path_folder(j->output);
        if (folder == NULL)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
        vqz_status status = file_make_folder(folder, diag);
        free(folder);
        return status;
    }
    return VQZ_OK;
}
