/*
 * libfuzzer.c - makes a fuzz target's own mutation that of libFuzzer.
 */
#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    test_random random = {seed};
    return fuzz_mutate(data, size, capacity, &random, LLVMFuzzerMutate);
}
