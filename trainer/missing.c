/*
 * missing.c - takes the place of the trainer in a program without it (`make TRAINER=`).
 *
 * corpus*.c and cluster.c, which need no oneDNN, stay.
 */
#include "trainer/train.h"

void train_options_init(train_options *options) {
    *options = (train_options){0};
}

vqz_status train_run(const train_options *options, const volatile sig_atomic_t *stop,
                     vqz_diag *diag) {
    (void)options;
    (void)stop;
    return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                     "this vqz was built without training (make TRAINER=); train on a machine that "
                     "has oneDNN: models made there work here");
}
