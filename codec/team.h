/*
 * team.h - the threads of a context: they share the rows of a loop and sleep in between.
 *
 * A network is a chain of short loops, each of which has to end before the next begins.  Threads
 * that spin at the end of a loop, as those of OpenMP run-times do, make the chain several times
 * slower as soon as another program wants the processors.  Here the caller only ever waits for
 * threads that have taken rows and are at work on them; one that has not woken up yet is not
 * missed.
 */
#ifndef VQZI_TEAM_H
#define VQZI_TEAM_H

#include "format/common.h"

/* Work is counted in multiply-accumulates.  A loop below the grain (some 0.1 ms) is not shared. */
enum { VQZI_GRAIN = 1 << 23, VQZI_ELEMENT_WORK = 16 }; /* moving an element counts as so many */

typedef struct vqzi_team vqzi_team;

/* Threads start when a loop first needs them; where they cannot, the others do their work.
   grain 0 shares every loop. */
VQZ_MUST_CHECK vqz_status vqzi_team_create(vqzi_team **team, int threads, uint64_t grain);
void vqzi_team_free(vqzi_team *team);
int vqzi_team_threads(const vqzi_team *team);

/* One row; thread is 0..threads-1 and no two calls at a time have the same. */
typedef void vqzi_team_row(const void *job, int thread, int64_t row);
/* Calls run(job, ., row) once for every row of begin..end-1, in no particular order. */
void vqzi_team_run(vqzi_team *team, uint64_t work, int64_t begin, int64_t end, vqzi_team_row *run,
                   const void *job);

#endif
