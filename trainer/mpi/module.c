/*
 * module.c - vqz-mpi.so: the calls of cluster_module.h on MPI.  Built with mpicc where there is one,
 * loaded by cluster.c when an MPI launcher started the program.
 */
#include "trainer/cluster_module.h"
#include <mpi.h>
#include <time.h>

enum { PIECE = 1 << 28 }; /* counts of MPI are int */

static bool start(int *rank, int *size, int *neighbours) {
    int level;
    MPI_Comm machine;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS)
        return false;
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, neighbours);
    MPI_Comm_free(&machine);
    return true;
}

static void finish(void) {
    MPI_Finalize();
}

/* MPI promises the same sums, to the last bit, in every process. */
static void sum(float *values, size_t count) {
    for (size_t done = 0; done < count; done += PIECE) {
        int piece = (int)(count - done < PIECE ? count - done : PIECE);
        MPI_Allreduce(MPI_IN_PLACE, values + done, piece, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    }
}

static int least(int value) {
    /* MPI's own waiting spins, and would slow a process down that still works on this machine. */
    const struct timespec pause = {0, 1000000};
    int result = value, done = 0;
    MPI_Request request;
    MPI_Iallreduce(&value, &result, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request);
    for (MPI_Test(&request, &done, MPI_STATUS_IGNORE); !done;
         MPI_Test(&request, &done, MPI_STATUS_IGNORE))
        nanosleep(&pause, NULL);
    return result;
}

static void copy(int from, void *data, size_t size) {
    for (size_t done = 0; done < size; done += PIECE) {
        int piece = (int)(size - done < PIECE ? size - done : PIECE);
        MPI_Bcast((char *)data + done, piece, MPI_BYTE, from, MPI_COMM_WORLD);
    }
}

extern const cluster_module vqz_cluster_module_1; /* CLUSTER_MODULE_SYMBOL */
__attribute__((visibility("default"))) const cluster_module vqz_cluster_module_1 = {
    .start = start, .finish = finish, .sum = sum, .least = least, .copy = copy};
