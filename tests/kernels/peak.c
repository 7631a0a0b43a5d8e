/*
 * peak.c - how fast the multiplications of each instruction set run when nothing else is in the
 * way: 12 independent results, no memory.  Assembly, so that no compiler can simplify them away.
 */
#include "tests/kernels/bench.h"

#include <time.h>

enum { SUMS = 12, TURNS = 20000 };

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* SUMS independent results of one instruction on registers. */
#define PEAK_LOOP(type, constraint, instruction)                                                   \
    type sums[SUMS] = {0}, a = {0}, b = {0};                                                       \
    for (int turn = 0; turn < TURNS; turn++) {                                                     \
        UNROLL                                                                                     \
        for (int i = 0; i < SUMS; i++)                                                             \
            __asm__ volatile(instruction                                                           \
                             : "+" constraint(sums[i])                                             \
                             : constraint(a), constraint(b));                                      \
    }

#if defined(__x86_64__)
typedef int lanes8 __attribute__((vector_size(32)));
typedef int lanes16 __attribute__((vector_size(64)));

__attribute__((target("avx2"))) static void loop_avx2(void) {
    PEAK_LOOP(lanes8, "x", "vpmaddwd %1, %2, %0");
}

__attribute__((target("avx2"))) static void loop_avxvnni(void) {
    PEAK_LOOP(lanes8, "x", "%{vex%} vpdpwssd %1, %2, %0");
}

__attribute__((target("avx512bw"))) static void loop_avx512(void) {
    PEAK_LOOP(lanes16, "v", "vpmaddwd %1, %2, %0");
}

__attribute__((target("avx512bw"))) static void loop_avx512vnni(void) {
    PEAK_LOOP(lanes16, "v", "vpdpwssd %1, %2, %0");
}
#elif defined(__AARCH64EL__)
typedef short lanes8 __attribute__((vector_size(16)));

static void loop_neon(void) {
    PEAK_LOOP(lanes8, "w", "smlal %0.4s, %1.4h, %2.4h");
}
#endif

static const struct {
    vqz_cpu cpu;
    int macs; /* of one instruction */
    void (*loop)(void);
} loops[] = {
#if defined(__x86_64__)
    {VQZ_CPU_AVX2, 16, loop_avx2},     {VQZ_CPU_AVX_VNNI, 16, loop_avxvnni},
    {VQZ_CPU_AVX512, 32, loop_avx512}, {VQZ_CPU_AVX512_VNNI, 32, loop_avx512vnni},
#elif defined(__AARCH64EL__)
    {VQZ_CPU_NEON, 4, loop_neon},
#endif
    {VQZ_CPU_SCALAR, 0, NULL},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double peak_macs(vqz_cpu cpu) {
    for (size_t i = 0; loops[i].loop; i++) {
        if (loops[i].cpu != cpu)
            continue;
        double best = 0;
        for (double start = now(); now() - start < 0.3;) {
            double begin = now();
            loops[i].loop();
            best = VQZI_MAX(best, (double)loops[i].macs * SUMS * TURNS / (now() - begin));
        }
        return best;
    }
    return 0;
}
