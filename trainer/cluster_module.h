/*
 * cluster_module.h - what the program asks of vqz-mpi.so (trainer/mpi/), the only part that is linked
 * with MPI.  All calls are collective; an error of MPI itself ends all processes.
 */
#ifndef TRAINER_CLUSTER_MODULE_H
#define TRAINER_CLUSTER_MODULE_H

#include <stdbool.h>
#include <stddef.h>

/* Changes when the table does, so that a program never calls the module of another version. */
#define CLUSTER_MODULE_SYMBOL "vqz_cluster_module_1"

typedef struct cluster_module {
    /* neighbours: processes on this machine, this one included. */
    bool (*start)(int *rank, int *size, int *neighbours);
    void (*finish)(void);
    void (*sum)(float *values, size_t count);
    /* The least value of all processes.  Waits without using the processor. */
    int (*least)(int value);
    void (*copy)(int from, void *data, size_t size);
} cluster_module;

#endif
