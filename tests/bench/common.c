/* common.c - see common.h. */
#include "tests/bench/common.h"
#include "cli/file.h"
#include "tests/support/picture_file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <omp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORDS = 64, MAX_WORD = 4096 };

static char folder[512];
static volatile sig_atomic_t stopped;

void bench_die(const char *format, ...) {
    /* one thread says why and ends the program; others that fail meanwhile wait for that */
#pragma omp critical(bench_die)
    {
        va_list arguments;
        fflush(stdout);
        fputs("\nbench: ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
        exit(1);
    }
}

void *bench_alloc(size_t size) {
    void *memory = calloc(1, VQZI_MAX(size, (size_t)1));
    if (memory == NULL)
        bench_die("out of memory for %zu bytes", size);
    return memory;
}

double bench_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const double *values, int count) {
    if (count == 0)
        return 0;
    size_t size = (size_t)count * sizeof *values;
    double *sorted = memcpy(bench_alloc(size), values, size);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    double median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    free(sorted);
    return median;
}

double bench_minimum(const double *values, int count) {
    double least = count == 0 ? 0 : values[0];
    for (int i = 1; i < count; i++)
        least = VQZI_MIN(least, values[i]);
    return least;
}

/* ---- the folder ---- */

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts, (void)kind, (void)place;
    return remove(path);
}

/* Programs that other threads have started may still be writing there; they end soon. */
static void remove_folder(void) {
    for (int i = 0; i < 100; i++) {
        nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        if (access(folder, F_OK) != 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static void note_signal(int number) {
    stopped = number;
}

const char *bench_folder(void) {
    if (folder[0] != '\0')
        return folder;
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || parent[0] == '\0')
        parent = "/tmp";
    char path[sizeof folder];
    if (snprintf(path, sizeof path, "%s/vqz-bench-XXXXXX", parent) >= (int)sizeof path ||
        mkdtemp(path) == NULL)
        bench_die("%s: cannot make a folder there (%s); set TMPDIR to one that can be written",
                  parent, strerror(errno));
    strcpy(folder, path);
    atexit(remove_folder);
    struct sigaction action = {.sa_handler = note_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return folder;
}

void bench_check_stop(void) {
    if (stopped)
        bench_die("stopped by signal %d", (int)stopped);
}

/* ---- programs ---- */

static const char *value_of(char letter, const bench_words *words, const char *count) {
    switch (letter) {
    case 'p':
        return words->program;
    case 'i':
        return words->input;
    case 'o':
        return words->output;
    case 'q':
        return words->setting;
    case 't':
        return words->threads;
    case 'm':
        return words->model;
    case 'n':
        return count;
    default:
        return NULL;
    }
}

/* One word of a pattern with its letters replaced; NULL when nothing is left of it. */
static char *expand(const char *word, const bench_words *words) {
    char text[MAX_WORD], count[16];
    size_t length = 0;
    snprintf(count, sizeof count, "%d", words->thread_count);
    for (; *word != '\0'; word++) {
        char plain[2] = {*word, '\0'};
        const char *part = plain;
        if (*word == '%') {
            part = value_of(*++word, words, count);
            if (part == NULL)
                bench_die("no value for %%%c in a command", *word);
        }
        size_t size = strlen(part);
        if (length + size >= sizeof text)
            bench_die("a word of a command is too long");
        memcpy(text + length, part, size);
        length += size;
    }
    text[length] = '\0';
    return length == 0 ? NULL : strcpy(bench_alloc(length + 1), text);
}

/* launch lies beside the benchmark. */
static void launcher_path(char *path, size_t size) {
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length <= 0 || (size_t)length > size - sizeof "/launch")
        bench_die("/proc/self/exe: cannot be read, so the launcher is not found");
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    strcpy(slash == NULL ? path : slash, "/launch");
}

/* The last line of what a program printed. */
static void last_line(char *line, size_t size, const char *path) {
    char text[1024];
    line[0] = '\0';
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    while (fgets(text, sizeof text, file) != NULL) {
        text[strcspn(text, "\r\n")] = '\0';
        if (text[0] != '\0')
            snprintf(line, size, "%.500s", text);
    }
    fclose(file);
}

/* Each thread has its own. */
static void log_path(char path[sizeof folder + 16]) {
    snprintf(path, sizeof folder + 16, "%s/log-%d", bench_folder(), omp_get_thread_num());
}

static _Noreturn void become_launcher(char **words, const char *log, int out) {
    char *program = words[0];
    int file = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600), nothing = open("/dev/null", O_RDONLY);
    /* moved out of the way first: any of them may hold a number that is still to be filled */
    int from[] = {fcntl(nothing, F_DUPFD, 10), fcntl(file, F_DUPFD, 10), fcntl(out, F_DUPFD, 10)};
    if (dup2(from[0], 0) == 0 && dup2(from[1], 1) == 1 && dup2(from[1], 2) == 2 &&
        dup2(from[2], 3) == 3) {
        for (int i = 0; i < 3; i++)
            close(from[i]);
        execv(program, words);
    }
    _exit(126);
}

static void command_text(char *text, size_t size, char *const *words) {
    size_t length = 0;
    text[0] = '\0';
    for (; *words != NULL && length < size; words++) {
        int added = snprintf(text + length, size - length, "%s%s", length > 0 ? " " : "", *words);
        length += added > 0 ? (size_t)added : 0;
    }
}

bench_cost bench_run(const char *pattern, const bench_words *values) {
    char launcher[MAX_WORD], log[sizeof folder + 16], result[128] = "";
    char *words[MAX_WORDS + 2] = {launcher};
    int count = 1, ends[2], status = -1, launch_status;
    char *copy = strcpy(bench_alloc(strlen(pattern) + 1), pattern);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        if (count > MAX_WORDS)
            bench_die("a command of more than %d words", MAX_WORDS);
        words[count] = expand(word, values);
        count += words[count] != NULL;
    }
    words[count] = NULL;
    free(copy);
    launcher_path(launcher, sizeof launcher);
    log_path(log);
    bench_check_stop();
    if (pipe2(ends, O_CLOEXEC) != 0)
        bench_die("no pipe: %s", strerror(errno));
    fflush(NULL); /* else the child holds a copy of what is buffered */
    pid_t child = fork();
    if (child == 0)
        become_launcher(words, log, ends[1]);
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; length + 1 < sizeof result;) {
        got = read(ends[0], result + length, sizeof result - 1 - length);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        length += got > 0 ? (size_t)got : 0;
    }
    close(ends[0]);
    while (child > 0 && waitpid(child, &launch_status, 0) < 0 && errno == EINTR)
        ;
    bench_check_stop();
    bench_cost cost = {0};
    int fields = sscanf(result, "%lf %ld %d", &cost.seconds, &cost.peak_kib, &status);
    if (child < 0 || fields != 3 || status != 0) {
        char command[1024], said[512];
        command_text(command, sizeof command, words + 1);
        last_line(said, sizeof said, log);
        bench_die("%s: failed with status %d: %s", command, status, said);
    }
    for (int i = 1; i < count; i++)
        free(words[i]);
    return cost;
}

bool bench_has_program(const char *name) {
    if (strchr(name, '/') != NULL)
        return access(name, X_OK) == 0;
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        char full[MAX_WORD];
        snprintf(full, sizeof full, "%.*s/%s", (int)length, path, name);
        if (access(full, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

void bench_version(char *line, size_t size, const char *program, const char *flag) {
    char log[sizeof folder + 16];
    bench_words words = {.program = program, .setting = flag};
    bench_run("%p %q", &words);
    log_path(log);
    line[0] = '\0';
    FILE *file = fopen(log, "r");
    if (file == NULL || fgets(line, (int)size, file) == NULL)
        snprintf(line, size, "unknown");
    if (file != NULL)
        fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
}

/* ---- pictures and files ---- */

static void name_skipped(void *user, const char *path, const char *reason) {
    (void)user;
    fprintf(stderr, "bench: %s: left out: %s\n", path, reason);
}

corpus *bench_load_pictures(const char *path, int channels, uint32_t background, size_t *count) {
    corpus_options options = {.paths = &path,
                              .path_count = 1,
                              .channels = channels,
                              .background = {(uint8_t)(background >> 16),
                                             (uint8_t)(background >> 8), (uint8_t)background},
                              .memory_budget = (size_t)8 << 30,
                              .min_side = 1,
                              .threads = 2,
                              .read = picture_read_pixels,
                              .skipped = name_skipped};
    corpus *pictures;
    corpus_stats stats;
    vqz_diag diag = {""};
    if (corpus_load(&pictures, &options, &diag) != VQZ_OK)
        bench_die("%s", diag.message);
    corpus_get_stats(pictures, &stats);
    *count = stats.pictures;
    return pictures;
}

void bench_write_png(const char *path, const vqz_image *image) {
    picture p = {.image = *image};
    vqz_diag diag = {""};
    if (picture_file_write(path, &p, PICTURE_PNG, &diag) != VQZ_OK)
        bench_die("%s: %s", path, diag.message);
}

uint64_t bench_file_size(const char *path) {
    struct stat facts;
    if (stat(path, &facts) != 0)
        bench_die("%s: was not written", path);
    return (uint64_t)facts.st_size;
}

vqz_model *bench_load_model(const char *path) {
    vqz_model *model;
    vqz_diag diag = {""};
    void *data;
    size_t size;
    if (file_read(path, (size_t)1 << 28, &data, &size, &diag) != VQZ_OK ||
        vqz_model_load(&model, data, size, NULL, &diag) != VQZ_OK)
        bench_die("%s: %s", path, diag.message);
    free(data);
    return model;
}
