/*
 * progress.h - what a run tells while it trains: one live line on a terminal, plain lines elsewhere,
 * a CSV file for plots.
 */
#ifndef TRAINER_PROGRESS_H
#define TRAINER_PROGRESS_H

#include "trainer/trainer.h"

typedef struct progress progress;

/* Refuses to overwrite the CSV of another run, unless forced to, or resuming. */
VQZ_MUST_CHECK vqz_status progress_create(progress **p, const train_options *options,
                                          vqz_diag *diag);
void progress_free(progress *p);
/* corpus_options.skipped: names the file with -v. */
void progress_skipped(void *p, const char *path, const char *reason);
/* Says what will be trained; opens the CSV (on resume: cut back to the checkpoint). */
VQZ_MUST_CHECK vqz_status progress_start(progress *p, const trainer *t, vqz_diag *diag);
/* After every step: averages the losses; every few seconds prints; every so often measures. */
VQZ_MUST_CHECK vqz_status progress_step(progress *p, trainer *t, const loss_parts *parts,
                                        double part_done);
uint64_t progress_log_size(progress *p);
/* A line of its own on stderr, unless --quiet; nothing when p is NULL (processes that do not lead). */
void progress_say(progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, only with -v. */
void progress_note(progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* finish.c: measures the integer model on held-out pictures with the real codec, writes its card and
   the .vqm file. */
VQZ_MUST_CHECK vqz_status finish_model(trainer *t, vqzi_model *model, progress *report,
                                       vqz_diag *diag);

#endif
