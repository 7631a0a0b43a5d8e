/*
 * sha256.h - the block functions behind vqzi_sha256 (container.h), for the tests that compare them.
 */
#ifndef VQZI_SHA256_H
#define VQZI_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* Folds `count` blocks of 64 bytes into the state. */
typedef void vqzi_sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count);
vqzi_sha256_blocks vqzi_sha256_blocks_portable;
/* The SHA extensions of x86 (SHA-NI); NULL on a processor without them. */
vqzi_sha256_blocks *vqzi_sha256_blocks_x86(void);

#endif
