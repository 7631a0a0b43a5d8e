/* export_internal.h - what the exporter of the networks and that of the prior share. */
#ifndef TRAINER_EXPORT_INTERNAL_H
#define TRAINER_EXPORT_INTERNAL_H

#include "trainer/tensor.h"
#include "trainer/trainer.h"

enum { MAX_REGISTERS = NETWORK_MAX_LAYERS + 1 };

typedef struct ranges {
    float max_abs[MAX_REGISTERS];
    int group[MAX_REGISTERS];    /* smallest register that shares its fractional bits */
    int bits[MAX_REGISTERS];
    int fraction[MAX_REGISTERS];
} ranges;

void export_find_groups(const network_spec *spec, ranges *r);
/* last_bits: of the output register's group; 0: hidden width. */
void export_choose_fractions(const network_spec *spec, ranges *r, int input_bits,
                             int input_fraction, int last_bits);
VQZ_MUST_CHECK vqz_status export_net(const network_spec *spec, const float *parameters,
                                     const ranges *r, vqzi_net *net, vqz_diag *diag);

/* export_prior.c: the stages' nets, gains and tables.  stages: calibrated ranges; their fractions are
   chosen here. */
enum {
    CONTEXT_FRACTION = 8, /* of latents in deviations, as the stages read them */
    OUTPUT_FRACTION = 11  /* of means in deviations */
};
/* Factor and offset that bring output `index` of a stage's last layer to OUTPUT_FRACTION. */
void prior_output_scale(const model_spec *spec, int stage, int index, float *factor, float *offset);
VQZ_MUST_CHECK vqz_status export_prior(trainer *t, vqzi_model *model, ranges *stages,
                                       int latent_fraction, int step_bits, vqz_diag *diag);

#endif
