/*
 * backend.h - the float tensor operations of the trainer, behind one small table.
 *
 * Everything costly that training does on tensors goes through a backend, so that another one (a
 * GPU) can be added without touching the network, the losses or the loop.  The one here is oneDNN
 * (backend_dnnl.c).  Tensors are dense NHWC.  Activations inside a network are float32 or bfloat16,
 * as the backend was created; parameters, their gradients and everything at the interface of a
 * network are float32.  Results are the same for the same inputs and number of threads.
 */
#ifndef TRAINER_BACKEND_H
#define TRAINER_BACKEND_H

#include "format/common.h"

typedef enum precision { PRECISION_FLOAT32, PRECISION_BFLOAT16 } precision;

typedef struct backend backend;

/* BFLOAT16 fails with VQZ_ERROR_UNSUPPORTED where the processor lacks it. */
VQZ_MUST_CHECK vqz_status backend_create(backend **b, precision p, int threads, vqz_diag *diag);
void backend_free(backend *b);
precision backend_precision(const backend *b);
int backend_threads(const backend *b);

/* C (m x n) = alpha * A (m x k) * B^T (n x k) + beta * C, all row-major float32: codebook distances. */
VQZ_MUST_CHECK vqz_status backend_gemm_nt(backend *b, size_t m, size_t n, size_t k, float alpha,
                                          const float *a, const float *bt, float beta, float *c);

#endif
