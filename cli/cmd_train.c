/*
 * cmd_train.c - vqz train: hands the options to the trainer (trainer/train.h).
 *
 * The first SIGINT or SIGTERM asks the trainer to write a checkpoint and stop; a second one ends
 * the program at once, which costs no more than the time since the last checkpoint.
 *
 * Under mpirun all processes come here; the one that leads speaks for them.
 */
#include "cli/commands.h"
#include "cli/file.h"
#include "cli/session.h"
#include "cli/text.h"
#include "trainer/cluster.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A handler reaches nothing but static variables. */
static volatile sig_atomic_t stop_requested;

static void on_stop(int number) {
    stop_requested = 1;
    signal(number, SIG_DFL);
}

static void install_stop_handlers(void) {
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = on_stop, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

/* Hours of training must not end at a target that could have been refused at the start. */
static vqz_status check_output(const settings *s, vqz_diag *diag) {
    static const char *const extensions[] = { "vqm", NULL };
    if (!path_has_extension(s->output, extensions))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "a model is named .vqm; name it with -o NAME.vqm");
    VQZ_TRY(file_check_target(s->output, s->force || s->train.resume, diag));
    /* finished training removes its checkpoint: one that is there may hold hours of work */
    char *checkpoint = text_format("%s.ckpt", s->output);
    if (checkpoint == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    bool exists = access(checkpoint, F_OK) == 0;
    free(checkpoint);
    if (exists && !s->force && !s->train.resume)
        return vqzi_fail(diag, VQZ_ERROR_IO,
                         "a checkpoint (.ckpt) of training that was stopped is beside it; continue "
                         "with --resume, or start anew with -f");
    return VQZ_OK;
}

/* What is wrong with the options, or NULL. */
static const char *usage_fault(const settings *s) {
    if (s->output == NULL || strcmp(s->output, "-") == 0)
        return "no model named; say where to write it with -o MODEL.vqm";
    if (s->train.seconds > 0 && s->train.steps > 0)
        return "--time and --steps exclude each other; give one of them";
    if (s->train.channels == 2)
        return "--channels takes 1, 3 or 4, not 2";
    return NULL;
}

static vqz_status train(const settings *s, const cluster *c, int count, char **operands,
                        vqz_diag *diag) {
    vqz_limits limits;
    model_store *models = NULL;
    void *init = NULL;
    train_options options = s->train;
    options.paths = (const char *const *)operands;
    options.path_count = (size_t)count;
    options.output = s->output;
    options.threads = s->threads;
    options.force = s->force;
    options.quiet = s->quiet;
    options.verbose = s->verbose;
    options.read = picture_read_pixels;
    options.write = file_replace;
    options.cluster = c;
    vqz_limits_init(&limits);
    vqz_status status = VQZ_OK;
    if (options.init != NULL) {
        status = models_create(&models, &limits, diag);
        if (status == VQZ_OK)
            status = models_read(models, options.init, &init, &options.init_size, diag);
        options.init_data = init;
    }
    status = cluster_agree(c, status, diag);
    if (status == VQZ_OK) {
        install_stop_handlers();
        status = train_run(&options, &stop_requested, diag);
    }
    free(init);
    models_free(models);
    return status;
}

int run_train(const settings *s, int count, char **operands) {
    report r;
    vqz_diag diag = { "" };
    cluster c;
    const char *file = NULL, *fault = usage_fault(s);
    report_init(&r, s->quiet, s->verbose);
    vqz_status status = cluster_join(&c, &diag);
    if (status == VQZ_OK && fault != NULL) {
        status = vqzi_fail(&diag, VQZ_ERROR_ARGUMENT, "%s", fault);
    } else if (status == VQZ_OK) {
        status = cluster_agree(&c, cluster_leads(&c) ? check_output(s, &diag) : VQZ_OK, &diag);
        if (status != VQZ_OK)
            file = s->output;
        else
            status = train(s, &c, count, operands, &diag);
    }
    if (status != VQZ_OK && cluster_leads(&c))
        report_error(&r, file, "%s",
                     diag.message[0] != '\0' ? diag.message : vqz_status_string(status));
    cluster_leave(&c);
    return status == VQZ_OK ? EXIT_DONE : fault != NULL ? EXIT_USAGE : EXIT_FAILED;
}
