/*
 * adjoint.h - a network backwards: from an error in its output to the gradient in its input.
 *
 * The adjoint of a CONV of stride 1 is a CONV again, its weights turned around and its channels
 * exchanged, so the kernels of the codec run it.  An activation scales what passes it by its slope
 * where the output is negative; D2S becomes its inverse; saturation and rounding count as the
 * identity.  Only the encoder uses it, to choose codes; integers make every machine choose the
 * same.
 */
#ifndef VQZI_ADJOINT_H
#define VQZI_ADJOINT_H

#include "codec/net.h"

typedef struct vqzi_adjoint vqzi_adjoint;
/* Packs the adjoint of a prepared net, which must outlive it. */
VQZ_MUST_CHECK vqz_status vqzi_adjoint_create(vqzi_adjoint **adjoint,
                                              const vqzi_prepared_net *prepared);
/* False for nets of a shape that is not covered, whose adjoint cannot be run: those with other ops
   than CONV of stride 1, ACT and D2S, with an activation behind everything, and those whose
   registers have more readers than residual blocks and a skip from the input need. */
bool vqzi_adjoint_is_able(const vqzi_adjoint *adjoint);
const vqzi_prepared_net *vqzi_adjoint_net(const vqzi_adjoint *adjoint);
void vqzi_adjoint_free(vqzi_adjoint *adjoint);

/* The gradient is scaled by 2^exponent: int16 is enough for every layer. */
int vqzi_adjoint_exponent(const vqzi_adjoint *adjoint);

/* Elements of the work memory for an executor of this plan (vqzi_net_plan_whole). */
uint64_t vqzi_adjoint_elements(const vqzi_prepared_net *prepared, const vqzi_net_plan *plan,
                               int threads);
/* After vqzi_executor_run, with an error in place of the output: leaves the gradient in place of
   the input. */
void vqzi_adjoint_run(const vqzi_adjoint *adjoint, vqzi_executor *executor, int16_t *work);

#endif
