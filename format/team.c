/* team.c - see team.h. */
#include "format/team.h"

#include <omp.h>

void vqzi_team_run(const vqzi_team *team, uint64_t work, int64_t begin, int64_t end,
                   vqzi_team_row *run, const void *job) {
    if (team->threads == 1 || work < team->grain || end - begin < 2) {
        for (int64_t row = begin; row < end; row++)
            run(job, team->first, row);
        return;
    }
    /* Chunks are small, so that a thread which loses its processor does not hold up the others. */
    int64_t chunk = VQZI_MAX((end - begin) / (4 * (int64_t)team->threads), 1);
#pragma omp parallel for num_threads(team->threads) schedule(dynamic, chunk)
    for (int64_t row = begin; row < end; row++)
        run(job, team->first + omp_get_thread_num(), row);
}
