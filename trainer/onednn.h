/*
 * onednn.h - the functions of oneDNN, found when training starts.
 *
 * The program is not linked with oneDNN: with its C++ runtime and OpenCL that would double the time
 * every command takes to start, for the sake of one.  onednn_load opens the library; its functions
 * are then called as onednn.sgemm for dnnl_sgemm.
 */
#ifndef TRAINER_ONEDNN_H
#define TRAINER_ONEDNN_H

#include "format/common.h"
#include <dnnl.h>

/* Those the trainer calls, without dnnl_. */
#define ONEDNN_FUNCTIONS(F)                                                                        \
    F(convolution_backward_data_desc_init)                                                         \
    F(convolution_backward_weights_desc_init)                                                      \
    F(convolution_forward_desc_init)                                                               \
    F(engine_create)                                                                               \
    F(engine_destroy)                                                                              \
    F(get_effective_cpu_isa)                                                                       \
    F(memory_create)                                                                               \
    F(memory_desc_get_size)                                                                        \
    F(memory_desc_init_by_tag)                                                                     \
    F(memory_destroy)                                                                              \
    F(memory_get_memory_desc)                                                                      \
    F(memory_set_data_handle)                                                                      \
    F(post_ops_append_binary)                                                                      \
    F(post_ops_append_eltwise)                                                                     \
    F(post_ops_create)                                                                             \
    F(post_ops_destroy)                                                                            \
    F(primitive_attr_clone)                                                                        \
    F(primitive_attr_create)                                                                       \
    F(primitive_attr_destroy)                                                                      \
    F(primitive_attr_set_post_ops)                                                                 \
    F(primitive_attr_set_scratchpad_mode)                                                          \
    F(primitive_create)                                                                            \
    F(primitive_desc_clone)                                                                        \
    F(primitive_desc_create)                                                                       \
    F(primitive_desc_destroy)                                                                      \
    F(primitive_desc_query)                                                                        \
    F(primitive_desc_query_md)                                                                     \
    F(primitive_destroy)                                                                           \
    F(primitive_execute)                                                                           \
    F(reorder_primitive_desc_create)                                                               \
    F(sgemm)                                                                                       \
    F(stream_create)                                                                               \
    F(stream_destroy)                                                                              \
    F(stream_wait)

typedef struct onednn_table {
#define ONEDNN_MEMBER(name) __typeof__(dnnl_##name) *name;
    ONEDNN_FUNCTIONS(ONEDNN_MEMBER)
#undef ONEDNN_MEMBER
} onednn_table;
extern onednn_table onednn;

/* Fills the table, once; several threads may call it.  UNSUPPORTED where the library of the version
   that this was compiled with is missing. */
VQZ_MUST_CHECK vqz_status onednn_load(vqz_diag *diag);

#endif
