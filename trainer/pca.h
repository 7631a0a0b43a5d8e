/*
 * pca.h - the linear path of the photo transform starts as the PCA of pixel blocks, the best linear
 * transform coder of the corpus; the networks then learn what a linear transform cannot do.
 */
#ifndef TRAINER_PCA_H
#define TRAINER_PCA_H

#include "trainer/corpus.h"
#include "trainer/preset.h"

/* Eigenvectors of a symmetric n x n matrix by cyclic Jacobi rotations (Golub and Van Loan, 8.5).
   matrix is destroyed; values (n) fall; vectors (n, n): row i belongs to values[i]. */
void pca_eigen(double *matrix, int n, double *values, double *vectors);

/* Estimates the PCA of stride x stride blocks from random crops, writes it into the linear layers of
   the spec (weights and biases of the flat parameter arrays). */
VQZ_MUST_CHECK vqz_status pca_initialise(const model_spec *spec, const corpus *c,
                                         const crop_options *crops, random_state *random,
                                         int threads, float *analysis, float *synthesis);

#endif
