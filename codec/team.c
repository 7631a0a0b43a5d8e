/*
 * team.c - see team.h.
 *
 * A loop is open from its announcement until its caller finds no more rows.  A worker that wakes up
 * in that time becomes active, takes rows until there are none, and reports back; one that wakes
 * up later goes back to sleep.  So `row` is only ever advanced under an open or active loop.
 */
#include "codec/team.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct worker {
    vqzi_team *team;
    pthread_t thread;
    int index; /* 1..threads-1; the caller is 0 */
} worker;

struct vqzi_team {
    int threads;
    uint64_t grain;
    pthread_mutex_t lock; /* guards everything below but `row` */
    pthread_cond_t start, done;
    worker *workers; /* (threads - 1) */
    int running;     /* workers that could be started */
    bool started, open, quit;
    int active;
    uint64_t loop; /* counts loops, so that no worker joins one twice */
    vqzi_team_row *run;
    const void *job;
    int64_t end, chunk;
    atomic_llong row; /* the next one to be taken */
};

static void take_rows(vqzi_team *team, int thread) {
    for (;;) {
        int64_t begin = atomic_fetch_add(&team->row, team->chunk);
        if (begin >= team->end)
            return;
        int64_t end = VQZI_MIN(begin + team->chunk, team->end);
        for (int64_t row = begin; row < end; row++)
            team->run(team->job, thread, row);
    }
}

static void *work(void *argument) {
    worker *self = argument;
    vqzi_team *team = self->team;
    uint64_t seen = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (!team->quit && !(team->open && team->loop != seen))
            pthread_cond_wait(&team->start, &team->lock);
        if (team->quit)
            break;
        seen = team->loop;
        team->active++;
        pthread_mutex_unlock(&team->lock);
        take_rows(team, self->index);
        pthread_mutex_lock(&team->lock);
        if (--team->active == 0)
            pthread_cond_signal(&team->done);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

/* Signals belong to the threads of the program, not to these. */
static void start_workers(vqzi_team *team) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; team->running < team->threads - 1; team->running++) {
        worker *next = &team->workers[team->running];
        next->team = team;
        next->index = team->running + 1;
        if (pthread_create(&next->thread, NULL, work, next) != 0)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    team->started = true;
}

vqz_status vqzi_team_create(vqzi_team **out, int threads, uint64_t grain) {
    vqzi_team *team = calloc(1, sizeof *team);
    if (!team)
        return VQZ_ERROR_MEMORY;
    team->workers = calloc((size_t)threads, sizeof *team->workers);
    if (!team->workers) {
        free(team);
        return VQZ_ERROR_MEMORY;
    }
    team->threads = threads;
    team->grain = grain;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->start, NULL);
    pthread_cond_init(&team->done, NULL);
    *out = team;
    return VQZ_OK;
}

void vqzi_team_free(vqzi_team *team) {
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->quit = true;
    pthread_cond_broadcast(&team->start);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->running; i++)
        pthread_join(team->workers[i].thread, NULL);
    pthread_mutex_destroy(&team->lock);
    pthread_cond_destroy(&team->start);
    pthread_cond_destroy(&team->done);
    free(team->workers);
    free(team);
}

int vqzi_team_threads(const vqzi_team *team) {
    return team->threads;
}

void vqzi_team_run(vqzi_team *team, uint64_t work_amount, int64_t begin, int64_t end,
                   vqzi_team_row *run, const void *job) {
    if (team->threads == 1 || work_amount < team->grain || end - begin < 2) {
        for (int64_t row = begin; row < end; row++)
            run(job, 0, row);
        return;
    }
    if (!team->started)
        start_workers(team);
    pthread_mutex_lock(&team->lock);
    team->run = run;
    team->job = job;
    team->end = end;
    /* small enough that a thread which loses its processor does not hold up the others for long */
    team->chunk = VQZI_MAX((end - begin) / (4 * (int64_t)team->threads), 1);
    atomic_store(&team->row, begin);
    team->loop++;
    team->open = true;
    pthread_cond_broadcast(&team->start);
    pthread_mutex_unlock(&team->lock);
    take_rows(team, 0);
    pthread_mutex_lock(&team->lock);
    team->open = false;
    while (team->active > 0)
        pthread_cond_wait(&team->done, &team->lock);
    pthread_mutex_unlock(&team->lock);
}
