/*
 * team.h - loops over rows, shared by the threads of a context (OpenMP).
 */
#ifndef VQZI_TEAM_H
#define VQZI_TEAM_H

#include "format/common.h"

/* Work is counted in multiply-accumulates.  A loop below the grain (some 0.5 ms) is not shared:
   waking the others would take as long, and a picture that has no larger ones needs no threads at
   all. */
enum { VQZI_GRAIN = 1 << 25, VQZI_ELEMENT_WORK = 16 }; /* moving an element counts as so many */

typedef struct vqzi_team {
    int threads;
    uint64_t grain; /* 0 shares every loop */
    int first;      /* number of its first thread */
} vqzi_team;

/* One row; thread is first..first+threads-1 and no two calls at a time have the same. */
typedef void vqzi_team_row(const void *job, int thread, int64_t row);
/* Calls run(job, ., row) once for every row of begin..end-1, in no particular order. */
void vqzi_team_run(const vqzi_team *team, uint64_t work, int64_t begin, int64_t end,
                   vqzi_team_row *run, const void *job);

#endif
