/*
 * bench_train.c - speed of whole training steps, as `vqz train` runs them: crops of real pictures,
 * forward, quantiser, losses, backward, clipping, Adam, codebooks.  Beside it the machine's peak,
 * from loops that touch registers alone, and the PyTorch lines that are given on standard input.
 *
 *   bench_train [-t threads] [-s seconds] [-c file.csv] [-p preset] [-f phase] [-n] folder
 *
 * prints a Markdown table, and the same figures to the CSV file.  -n reads no standard input.
 * MACs are those of PyTorch's networks and ours alike, counted as three passes of every convolution
 * (transposed ones with the four taps that each output has); pixels are those of the crops.
 */
#include "trainer/train.c" /* the steps themselves are private to it */
#include "cli/picture.h"
#include <errno.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

enum { MAX_LINES = 64, MAX_STEPS = 100000 };

typedef struct rival {
    char preset[16], phase[16], setting[80];
    double speed;
} rival;

static void need_ok(vqz_status status, const vqz_diag *diag) {
    if (status == VQZ_OK)
        return;
    fprintf(stderr, "bench_train: %s\n", diag->message[0] ? diag->message : vqz_status_string(status));
    exit(1);
}

/* ---- the machine's peak ---- */

#if defined(__x86_64__) && defined(__GNUC__)
enum { CHAINS = 16, ROUNDS = 1 << 24 };

/* Sixteen independent sums: more than latency times units on any processor so far. */
__attribute__((target("avx512f"))) static float fma_loop(void) {
    __m512 sums[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_ps((float)i);
    for (int n = 0; n < ROUNDS / CHAINS; n++)
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_fmadd_ps(sums[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_reduce_add_ps(sums[0]);
}

/* Twelve of them and two operands fit the sixteen registers. */
__attribute__((target("avx2,fma"))) static float fma_loop_avx2(void) {
    enum { SUMS = 12 };
    __m256 sums[SUMS], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm256_set1_ps((float)i);
    for (int n = 0; n < ROUNDS / SUMS; n++)
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm256_fmadd_ps(sums[i], a, b);
    for (int i = 1; i < SUMS; i++)
        sums[0] = _mm256_add_ps(sums[0], sums[i]);
    return sums[0][0] + sums[0][1] + sums[0][2] + sums[0][3] + sums[0][4] + sums[0][5] +
           sums[0][6] + sums[0][7];
}

__attribute__((target("avx512f,avx512bf16"))) static float dot_loop(void) {
    __m512 sums[CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f80), b = (__m512bh)_mm512_set1_epi16(0x3c00);
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_ps((float)i);
    for (int n = 0; n < ROUNDS / CHAINS; n++)
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_reduce_add_ps(sums[0]);
}

/* GMAC/s of all threads together, the best of several rounds. */
static double peak_of(float (*loop)(void), double macs_per_op, int threads) {
    double best = 0;
    float kept = 0;
    for (int round = 0; round < 6; round++) {
        double start = omp_get_wtime();
#pragma omp parallel num_threads(threads)
        {
            float value = loop();
#pragma omp atomic
            kept += value;
        }
        best = fmax(best, macs_per_op * ROUNDS * threads / (omp_get_wtime() - start) * 1e-9);
    }
    return kept != kept ? 0 : best; /* the sums are used, so they are formed */
}

static void machine_peak(int threads, double *float32, double *bfloat16) {
    *float32 = *bfloat16 = 0;
    if (__builtin_cpu_supports("avx512f"))
        *float32 = peak_of(fma_loop, 16, threads);
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        *float32 = peak_of(fma_loop_avx2, 8, threads);
    if (__builtin_cpu_supports("avx512bf16"))
        *bfloat16 = peak_of(dot_loop, 32, threads);
}
#else
static void machine_peak(int threads, double *float32, double *bfloat16) {
    (void)threads;
    *float32 = *bfloat16 = 0;
}
#endif

/* ---- steps ---- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Set up as `vqz train` is, up to the first step. */
static trainer *open_trainer(const char *preset, const char *folder, int threads) {
    vqz_diag diag = {""};
    trainer *t = calloc(1, sizeof *t);
    if (!t)
        need_ok(VQZ_ERROR_MEMORY, &diag);
    train_options_init(&t->options);
    t->options.paths = &folder;
    t->options.path_count = 1;
    t->options.preset = preset;
    t->options.precision = "auto";
    t->options.threads = threads;
    t->options.steps = 1000;
    t->options.holdout = 0;
    t->options.read = picture_read_pixels;
    t->options.output = "";
    t->options.quiet = true;
    t->cluster = cluster_alone();
    omp_set_num_threads(threads);
    progress *report = NULL;
    need_ok(progress_create(&report, &t->options, &diag), &diag);
    need_ok(trainer_set_up(t, report, &diag), &diag);
    progress_free(report);
    return t;
}

/* Median seconds of a step. */
static double time_steps(trainer *t, double seconds) {
    static double times[MAX_STEPS];
    vqz_diag diag = {""};
    loss_parts parts;
    int count = -4; /* to warm up */
    double begin = omp_get_wtime();
    while (count < 5 || (count < MAX_STEPS && omp_get_wtime() - begin < seconds)) {
        double before = omp_get_wtime();
        memset(t->shared, 0, (SHARED_COUNT + 2 * (size_t)t->whole_batch) * sizeof *t->shared);
        need_ok(compute_step(t), &diag);
        share_step(t, false, false, false, 0);
        apply_step(t, &parts);
        if (t->run.hard)
            follow_epoch(t);
        if (count >= 0)
            times[count] = omp_get_wtime() - before;
        count++;
    }
    qsort(times, (size_t)count, sizeof *times, compare_doubles);
    return times[count / 2];
}

/* MACs of a training step on one pixel, three passes of everything; the taps that a transposed
   convolution lacks are not counted, whoever computes them. */
static double macs_per_pixel(const trainer *t) {
    const model_spec *s = &t->spec;
    double macs = network_macs(&s->analysis, t->crop, t->crop) +
                  network_macs(&s->synthesis, t->latent_side, t->latent_side);
    int side = t->latent_side;
    for (int i = 0; i < s->synthesis.layer_count; i++) {
        const layer *l = &s->synthesis.layers[i];
        if (l->kind == LAYER_CONV && l->transposed) { /* nine taps were counted, four exist */
            macs -= (double)side * side * 5 * l->cin * l->cout;
            side *= 2;
        }
    }
    return 3 * macs / ((double)t->crop * t->crop);
}

static int read_rivals(rival *list) {
    char line[256];
    int count = 0;
    while (count < MAX_LINES && fgets(line, sizeof line, stdin)) {
        rival *r = &list[count];
        if (sscanf(line, "%15[^,],%15[^,],%79[^,],%lf", r->preset, r->phase, r->setting, &r->speed) == 4)
            count++;
    }
    return count;
}

static const rival *best_rival(const rival *list, int count, const char *preset, const char *phase) {
    const rival *best = NULL;
    for (int i = 0; i < count; i++)
        if (strcmp(list[i].preset, preset) == 0 && strcmp(list[i].phase, phase) == 0 &&
            (!best || list[i].speed > best->speed))
            best = &list[i];
    return best;
}

static void line(FILE *csv, const trainer *t, const char *phase, double speed, const rival *other,
                 double peak) {
    double gmacs = speed * macs_per_pixel(t) * 1e-9;
    const char *name =
        backend_precision(t->backend) == PRECISION_BFLOAT16 ? "bfloat16" : "float32";
    char ratio[32] = "", rival_speed[32] = "", percent[32] = "";
    if (other) {
        snprintf(rival_speed, sizeof rival_speed, "%.2f", other->speed * 1e-6);
        snprintf(ratio, sizeof ratio, "%.2f", speed / other->speed);
    }
    if (peak > 0)
        snprintf(percent, sizeof percent, "%.0f", 100 * gmacs / peak);
    printf("| %s | %s | %s | %.2f | %s | %s | %s | %.0f | %s |\n", t->spec.name, phase, name,
           speed * 1e-6, rival_speed, other ? other->setting : "", ratio, gmacs, percent);
    fflush(stdout);
    if (csv)
        fprintf(csv, "%s,%s,%s,%.0f,%.0f,%s,%s,%.1f,%.1f\n", t->spec.name, phase, name, speed,
                other ? other->speed : 0, other ? other->setting : "", ratio, gmacs, peak);
}

int main(int argc, char **argv) {
    int threads = omp_get_num_procs(), option, rivals = 0;
    double seconds = 4, float32, bfloat16;
    const char *csv_path = NULL, *only = NULL, *only_phase = NULL;
    bool alone = false;
    static rival list[MAX_LINES];
    while ((option = getopt(argc, argv, "t:s:c:p:f:n")) != -1)
        switch (option) {
        case 't': threads = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'c': csv_path = optarg; break;
        case 'p': only = optarg; break;
        case 'f': only_phase = optarg; break;
        case 'n': alone = true; break;
        default: return 2;
        }
    if (optind + 1 != argc || threads < 1) {
        fprintf(stderr, "usage: bench_train [-t threads] [-s seconds] [-c file.csv] [-p preset] "
                        "[-f phase] [-n] folder\n");
        return 2;
    }
    if (!alone)
        rivals = read_rivals(list);
    FILE *csv = csv_path ? fopen(csv_path, "w") : NULL;
    if (csv_path && !csv) {
        fprintf(stderr, "bench_train: %s: %s\n", csv_path, strerror(errno));
        return 1;
    }
    machine_peak(threads, &float32, &bfloat16);
    printf("Peak of %d threads: %.0f GMAC/s float32 (FMA), %.0f GMAC/s bfloat16 (vdpbf16ps)\n\n"
           "| preset | phase | precision | vqz Mpx/s | PyTorch Mpx/s | its best setting | ratio | "
           "vqz GMAC/s | %% of peak |\n|---|---|---|--:|--:|---|--:|--:|--:|\n",
           threads, float32, bfloat16);
    if (csv)
        fprintf(csv, "preset,phase,precision,vqz_pixels_per_second,pytorch_pixels_per_second,"
                     "pytorch_setting,ratio,vqz_gmac_per_second,peak_gmac_per_second\n");
    static const char *const presets[] = {"photo", "classic"}, *const phases[] = {"noise", "hard"};
    for (int i = 0; i < 2; i++) {
        if (only && strcmp(only, presets[i]) != 0)
            continue;
        trainer *t = open_trainer(presets[i], argv[optind], threads);
        double pixels = (double)t->whole_batch * t->crop * t->crop;
        for (int phase = 0; phase < 2; phase++) {
            if (phase == 0 && t->run.hard)
                continue; /* classic has codes from the first step on */
            if (phase == 1 && !t->run.hard)
                need_ok(start_hard_phase(t), &(vqz_diag){""});
            if (only_phase && strcmp(only_phase, phases[phase]) != 0)
                continue;
            line(csv, t, phases[phase], pixels / time_steps(t, seconds),
                 best_rival(list, rivals, presets[i], phases[phase]),
                 backend_precision(t->backend) == PRECISION_BFLOAT16 ? bfloat16 : float32);
        }
        trainer_clear(t);
        free(t);
    }
    if (csv && fclose(csv) != 0) {
        fprintf(stderr, "bench_train: %s: %s\n", csv_path, strerror(errno));
        return 1;
    }
    return 0;
}
