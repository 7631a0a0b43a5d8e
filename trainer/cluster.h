/*
 * cluster.h - the processes that train one model together, when an MPI launcher started several:
 * `mpirun -np N vqz train ...`.
 *
 * MPI is not linked into the program.  It is in a module, vqz-mpi.so, that is looked for beside the
 * program and in ../lib/vqz, and loaded only when the environment says that a launcher started us.  A
 * process that was started alone needs no module, and every call is then free.
 *
 * All processes make the same calls in the same order.  An error in one of them must therefore not
 * leave the others waiting: each goes on to the next cluster_agree with its status.
 */
#ifndef TRAINER_CLUSTER_H
#define TRAINER_CLUSTER_H

#include "format/common.h"

typedef struct cluster {
    int rank, size;
    int neighbours; /* processes on this machine, this one included */
    const struct cluster_module *module; /* NULL: this process is alone */
} cluster;

static inline cluster cluster_alone(void) {
    return (cluster){.rank = 0, .size = 1, .neighbours = 1};
}

/* Meets the other processes.  On failure, rank 0 is one process a machine, which can report it. */
VQZ_MUST_CHECK vqz_status cluster_join(cluster *c, vqz_diag *diag);
/* The last call. */
void cluster_leave(cluster *c);
/* The process that reports, and writes files. */
static inline bool cluster_leads(const cluster *c) {
    return c->rank == 0;
}

/* values = sum of the values of all processes: the same floats everywhere. */
void cluster_sum(const cluster *c, float *values, size_t count);
/* The leader's bytes to all. */
void cluster_copy(const cluster *c, void *data, size_t size);
/* VQZ_OK where all processes say so; else the failure of one, with its message, everywhere. */
VQZ_MUST_CHECK vqz_status cluster_agree(const cluster *c, vqz_status status, vqz_diag *diag);

#endif
