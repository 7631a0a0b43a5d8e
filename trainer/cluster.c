/* cluster.c - see cluster.h. */
#include "trainer/cluster.h"
#include "trainer/cluster_module.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number in the first of the variables that is set, or `otherwise`. */
static int environment_number(const char *const *names, int otherwise) {
    for (; *names; names++) {
        const char *text = getenv(*names);
        if (text && *text)
            return atoi(text);
    }
    return otherwise;
}

/* How many processes the launcher started; 0 when it does not say before MPI is asked. */
static int launched(void) {
    /* Open MPI; MPICH, Intel MPI and Slurm's PMI */
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};
    return environment_number(sizes, getenv("PMIX_RANK") ? 0 : 1);
}

static int rank_on_machine(void) {
    static const char *const ranks[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",
                                        "SLURM_LOCALID", "PMI_RANK", "PMIX_RANK", NULL};
    return environment_number(ranks, 0);
}

/* The module's path, where it can be read. */
static bool find_module(char *path, size_t capacity) {
    static const char *const places[] = {"vqz-mpi.so", "../lib/vqz/vqz-mpi.so"};
    char folder[4096];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (length <= 0)
        return false;
    folder[length] = '\0';
    char *slash = strrchr(folder, '/');
    if (!slash)
        return false;
    slash[1] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int n = snprintf(path, capacity, "%s%s", folder, places[i]);
        if (n > 0 && (size_t)n < capacity && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

vqz_status cluster_join(cluster *c, vqz_diag *diag) {
    int expected = launched();
    *c = cluster_alone();
    if (expected == 1)
        return VQZ_OK;
    char path[4200];
    c->rank = rank_on_machine();
    if (!find_module(path, sizeof path))
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "started by an MPI launcher, but this program was built without MPI; build "
                         "it where mpicc is (Debian: mpi-default-dev), or start one process alone");
    /* MPI loads modules of its own that look for its symbols among the global ones. */
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    const cluster_module *module = library ? dlsym(library, CLUSTER_MODULE_SYMBOL) : NULL;
    if (!module) {
        const char *reason = dlerror();
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "cannot load MPI (%.400s); install the MPI library that vqz was built with, "
                         "or start one process alone",
                         reason ? reason : path);
    }
    if (!module->start(&c->rank, &c->size, &c->neighbours))
        return vqzi_fail(diag, VQZ_ERROR_IO, "MPI cannot start");
    c->module = module;
    if (expected > 1 && c->size != expected) {
        c->rank = rank_on_machine();
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "the launcher started %d processes, but MPI knows %d; use the mpirun of the "
                         "MPI that vqz was built with",
                         expected, c->size);
    }
    return VQZ_OK;
}

void cluster_leave(cluster *c) {
    /* The library stays loaded: not every MPI survives being unloaded. */
    if (c->module)
        c->module->finish();
    *c = cluster_alone();
}

void cluster_sum(const cluster *c, float *values, size_t count) {
    if (c->module)
        c->module->sum(values, count);
}

void cluster_copy(const cluster *c, void *data, size_t size) {
    if (c->module)
        c->module->copy(0, data, size);
}

vqz_status cluster_agree(const cluster *c, vqz_status status, vqz_diag *diag) {
    if (!c->module)
        return status;
    int failed = c->module->least(status == VQZ_OK ? c->size : c->rank);
    if (failed == c->size)
        return VQZ_OK;
    vqz_diag shared = {""};
    int code = (int)status;
    if (c->rank == failed && diag && failed == 0)
        shared = *diag;
    else if (c->rank == failed)
        (void)vqzi_fail(&shared, status, "process %d of %d: %.*s", failed + 1, c->size,
                        (int)sizeof shared.message - 40,
                        diag && diag->message[0] ? diag->message : vqz_status_string(status));
    c->module->copy(failed, &code, sizeof code);
    c->module->copy(failed, &shared, sizeof shared);
    if (diag)
        *diag = shared;
    return (vqz_status)code;
}
