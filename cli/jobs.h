/*
 * jobs.h - from operands to a list of files to work on: folders are walked, output names derived.
 */
#ifndef CLI_JOBS_H
#define CLI_JOBS_H

#include "cli/report.h"
#include "trainer/corpus_walk.h" /* picture_extensions */

typedef struct job {
    char *input;  /* path or "-" */
    char *output; /* path or "-"; NULL when the command writes no files */
    bool mirrored; /* the folder of output may have to be made */
} job;

typedef struct job_list {
    job *jobs;
    size_t count, capacity;
    size_t failed; /* operands that could not be used; already reported */
} job_list;

typedef struct job_rules {
    const char *const *extensions; /* taken from folders, NULL-terminated, lower case */
    const char *what;              /* what is sought there, for messages: "pictures" */
    const char *new_extension;     /* of outputs; NULL: the command writes no files */
    const char *output;            /* -o, or NULL */
    bool recursive;                /* take folders */
} job_rules;

extern const char *const vqz_extensions[];

/* A bad operand is reported and counted, and the others go on; what makes the whole run senseless
   (several pictures into one file) is a status with a message. */
VQZ_MUST_CHECK vqz_status jobs_collect(job_list *list, const job_rules *rules, int count,
                                       char **operands, report *r, vqz_diag *diag);
void jobs_clear(job_list *list);
/* Before a job's work: makes its folder where needed, and tells whether its output may be
   written. */
VQZ_MUST_CHECK vqz_status job_prepare(const job *j, bool force, vqz_diag *diag);

#endif
