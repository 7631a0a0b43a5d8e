/*
 * vqz.h - the public interface of libvqz, the one installed header.
 *
 * libvqz turns 8-bit pictures into .vqz files and back with a trained VQ-VAE model (.vqm).  Decoding
 * is integer arithmetic: the same file and the same model give the same pixels on every machine, for
 * every number of threads and every instruction set.  The formats are specified in
 * spec/vqz-format.md and spec/vqm-format.md.
 *
 * Conventions
 *   - Every fallible function returns a vqz_status; results go through pointers, which are left
 *     untouched when the call fails.  A vqz_diag, when given (NULL is allowed), receives one line
 *     that says what is wrong.
 *   - A vqz_model is immutable and may be shared between threads.  A vqz_context owns work memory
 *     and belongs to one thread at a time.
 *   - Option structs are set up by their init function and only ever grow at the end.
 *   - The library never prints, exits, or reads the environment or the file system.  (The OpenMP
 *     run-time it shares rows with does look at the OMP_ variables; none changes a result.)
 */
#ifndef VQZ_H
#define VQZ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VQZ_VERSION_MAJOR 0
#define VQZ_VERSION_MINOR 1
#define VQZ_VERSION_PATCH 0

#if defined(__GNUC__)
#define VQZ_API __attribute__((visibility("default")))
#define VQZ_MUST_CHECK __attribute__((warn_unused_result))
#else
#define VQZ_API
#define VQZ_MUST_CHECK
#endif

/* Status codes, grouped by class: 1x input, 2x unsupported, 3x model, 4x resources, 5x I/O.
   The values are part of the ABI. */
typedef enum vqz_status {
    VQZ_OK = 0,
    VQZ_ERROR_ARGUMENT = 1,        /* the caller passed something the interface forbids */
    VQZ_ERROR_FORMAT = 10,         /* not a .vqz file, a .vqm file or a picture at all */
    VQZ_ERROR_TRUNCATED = 11,      /* the data ends too early */
    VQZ_ERROR_CORRUPT = 12,        /* the data contradict the format or their checksum */
    VQZ_ERROR_VERSION = 20,        /* a newer format version than this library knows */
    VQZ_ERROR_UNSUPPORTED = 21,    /* a valid feature that this library does not have */
    VQZ_ERROR_MODEL_INVALID = 30,  /* the model is damaged or breaks a rule of vqm-format.md */
    VQZ_ERROR_MODEL_MISMATCH = 31, /* the file was made with another model */
    VQZ_ERROR_MEMORY = 40,         /* allocation failed */
    VQZ_ERROR_LIMIT = 41,          /* a vqz_limits value would be exceeded */
    VQZ_ERROR_IO = 50              /* reading or writing failed (used by the program) */
} vqz_status;

/* Caller-owned diagnostic; message is always NUL-terminated once a call has failed. */
typedef struct vqz_diag {
    char message[512];
} vqz_diag;

/* A short English name of a status, never NULL. */
VQZ_API const char *vqz_status_string(vqz_status status);
/* "major.minor.patch" of the library that is linked. */
VQZ_API const char *vqz_version(void);
/* Releases memory that the library handed out (encoded files, metadata).  NULL is allowed. */
VQZ_API void vqz_free(void *memory);

/* What the library refuses to exceed; checked before anything is allocated. */
typedef struct vqz_limits {
    uint64_t max_pixels;         /* width * height of a picture;        default 2^28 */
    uint64_t max_memory;         /* bytes of work memory in one call;   default 2^30.  The result
                                    and zstd's tables (up to 100 MB for alpha and metadata, a few
                                    elsewhere) come on top. */
    uint64_t max_macs_per_pixel; /* of a model's encoder network and its search of the codebooks,
                                    and of its decoder network and its prior;  default 250000 */
} vqz_limits;
VQZ_API void vqz_limits_init(vqz_limits *limits);

/* ---- models ---- */

typedef struct vqz_model vqz_model;

/* Facts about a model.  The pointers live as long as the model. */
typedef struct vqz_model_info {
    uint8_t hash[32];       /* SHA-256 of the canonical content; a .vqz file stores the first 4 bytes */
    uint32_t channels;      /* of the pictures it was trained on: 1 gray, 3 RGB, 4 RGBA */
    uint32_t stride;        /* pixels per latent position, in each direction */
    uint32_t latent_channels;
    uint32_t planes;        /* index planes per latent position */
    uint32_t levels;        /* trained quality levels; -q interpolates between them */
    uint64_t parameters;    /* weights, biases and codebook entries */
    uint64_t analysis_macs; /* multiply-accumulates per pixel of the encoder network */
    uint64_t synthesis_macs; /* the same of the decoder network */
    const char *card;       /* JSON text written by the trainer, NUL-terminated; may be "" */
    uint64_t prior_macs;    /* multiply-accumulates per pixel of the prior, on both sides; 0: none */
    uint32_t prior_stages;  /* of the prior: scans of a progressive file; 0: none */
} vqz_model_info;

/* Parses, checks and prepares a .vqm file held in memory; data may be released afterwards.
   limits may be NULL for the defaults. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_model_load(vqz_model **model, const void *data, size_t size,
                                                 const vqz_limits *limits, vqz_diag *diag);
VQZ_API void vqz_model_free(vqz_model *model);
VQZ_API void vqz_model_get_info(const vqz_model *model, vqz_model_info *info);
/* The bytes of the default model inside the library (a .vqm file, static storage). */
VQZ_API const void *vqz_default_model(size_t *size);

/* ---- pictures ---- */

/* 8-bit interleaved rows, alpha straight (not premultiplied).  Encoding only reads the pixels. */
typedef struct vqz_image {
    uint32_t width, height; /* 1 to 65535 */
    uint32_t channels;      /* 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA */
    size_t stride;          /* bytes from one row to the next, at least width * channels */
    uint8_t *pixels;
} vqz_image;

/* What a .vqz file says about itself, known without its model. */
typedef struct vqz_info {
    uint32_t version;
    uint32_t width, height, channels;
    uint32_t quality;       /* 1 to 100 */
    uint8_t model_hash[4];  /* first bytes of the hash of the model it needs */
    uint64_t icc_size;      /* bytes of the ICC profile after decompression, 0 when absent */
    uint64_t exif_size;     /* the same for the EXIF block (TIFF structure, no "Exif" prefix) */
    uint64_t header_bytes;  /* parts of the file: fixed fields and checksum, */
    uint64_t chunk_bytes;   /*   alpha and metadata, */
    uint64_t index_bytes;   /*   entropy-coded index planes */
    uint32_t tiles;         /* parts of the picture that are coded for themselves */
    int rans;               /* 1: index planes coded with the model's prior; 0: zstd */
    int scans;              /* 1: the coarse planes of the whole picture come first */
} vqz_info;

/* ---- contexts ---- */

typedef struct vqz_context vqz_context;

/* Highest instruction set a context may use; output is the same for all of them.  The best one that the
   processor has, up to this, is used; an instruction set of another family of processors is none. */
typedef enum vqz_cpu {
    VQZ_CPU_BEST = 0,
    VQZ_CPU_SCALAR = 1,
    VQZ_CPU_AVX2 = 2, /* x86-64, in ascending order */
    VQZ_CPU_AVX_VNNI = 3,
    VQZ_CPU_AVX512 = 4, /* F and BW */
    VQZ_CPU_AVX512_VNNI = 5,
    VQZ_CPU_NEON = 32 /* 64-bit ARM */
} vqz_cpu;

typedef struct vqz_context_options {
    int threads; /* 0: all processors */
    vqz_cpu cpu; /* VQZ_CPU_BEST: whatever this processor has */
    vqz_limits limits;
} vqz_context_options;
VQZ_API void vqz_context_options_init(vqz_context_options *options);
/* options may be NULL for the defaults. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_context_create(vqz_context **context,
                                                     const vqz_context_options *options,
                                                     vqz_diag *diag);
VQZ_API void vqz_context_free(vqz_context *context);

/* ---- encode and decode ---- */

/* How the index planes are coded.  A model without a prior knows zstd alone. */
typedef enum vqz_entropy {
    VQZ_ENTROPY_AUTO = 0, /* rANS where there is a prior; at effort 7 and above whichever is smaller */
    VQZ_ENTROPY_RANS = 1, /* with the model's prior */
    VQZ_ENTROPY_ZSTD = 2
} vqz_entropy;

typedef struct vqz_encode_options {
    int quality; /* 1 (smallest) to 100 (best); default 50.  Ignored by one-level models. */
    const void *icc;
    size_t icc_size; /* ICC profile to keep, or NULL */
    const void *exif;
    size_t exif_size; /* EXIF block to keep (TIFF structure), or NULL */
    /* How long to search for indices that cost few bits, with a model that has a prior: 1, the nearest
       entry; 2-4, one towards zero too, index by index; 5 and 6, all together, two or three times over; 7, 8, 9,
       then 2, 6, 16 times again for what decoding has shown to be wrong (unless the synthesis network has an
       unusual shape).  Default 6. */
    int effort;
    int entropy;     /* vqz_entropy; default VQZ_ENTROPY_AUTO */
    int progressive; /* 1: the coarse planes of the whole picture first, with a model that has a prior; from
                        effort 7 on codes may then be others, since bytes decide between attempts */
    /* Makes bits dearer against errors than the model has them, by so many percent: -100 (the nearest
       entries, whatever they cost) to 900; default 0.  Finer than a step of quality, and all there is
       with a one-level model.  Has no effect at effort 1 with a model that has a prior. */
    int rate_bias;
} vqz_encode_options;
VQZ_API void vqz_encode_options_init(vqz_encode_options *options);

/* Encodes a picture.  *file receives *file_size bytes to be released with vqz_free.  A gray picture
   stays gray under an RGB model; alpha is kept without loss (a 4-channel model codes it jointly,
   with loss, and colours of transparent pixels as it likes). */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_encode(vqz_context *context, const vqz_model *model,
                                             const vqz_image *image,
                                             const vqz_encode_options *options, void **file,
                                             size_t *file_size, vqz_diag *diag);

/* Reads the facts of a .vqz file and verifies its checksum, without decoding it. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_read_info(const void *file, size_t file_size, vqz_info *info,
                                                vqz_diag *diag);

/* Decodes into image, whose width, height, channels, stride and pixels the caller has set up from
   vqz_read_info.  On failure the pixels are unspecified. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_decode(vqz_context *context, const vqz_model *model,
                                             const void *file, size_t file_size,
                                             const vqz_image *image, vqz_diag *diag);

/* What to decode of a file, and how. */
typedef struct vqz_decode_options {
    /* A region of the picture in pixels; width 0: all of it.  Its pixels are those that it has in the whole
       picture, at the cost of the tiles that they depend on (of version 1 files: also of what lies
       above). */
    uint32_t x, y, width, height;
    /* 1: a file that ends too early, or whose checksum does not match, gives the best picture that its
       bytes allow: what is missing counts as zero in the latents.  The header and the chunks (alpha,
       metadata) have to be there. */
    int partial;
} vqz_decode_options;
VQZ_API void vqz_decode_options_init(vqz_decode_options *options);

/* vqz_decode with options; NULL: the defaults.  The image has the size of the region. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_decode_with(vqz_context *context, const vqz_model *model,
                                                  const void *file, size_t file_size,
                                                  const vqz_decode_options *options,
                                                  const vqz_image *image, vqz_diag *diag);

/* vqz_read_info for a file that may have been cut behind its chunks; *whole: it was not, and its checksum
   matches. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_read_partial_info(const void *file, size_t file_size,
                                                        vqz_info *info, int *whole,
                                                        vqz_diag *diag);

/* Reads the index planes of a file: codes receives (planes, rows, columns) values, plane after plane, where
   planes is vqz_model_info's and a side of the latent is the picture's divided by the model's stride,
   rounded up.  count: how many values there is room for; anything but that number is an
   ARGUMENT error. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_read_codes(vqz_context *context, const vqz_model *model,
                                                 const void *file, size_t file_size,
                                                 uint16_t *codes, size_t count, vqz_diag *diag);

/* ---- rows: pictures that are never in memory whole ---- */

/* Encodes a picture that arrives in bands of rows.  The file is the one that vqz_encode makes.  Context,
   model and the options' metadata must outlive the encoder; the context serves one encoder or decoder
   at a time.  After a failure only vqz_encoder_free is allowed. */
typedef struct vqz_encoder vqz_encoder;
VQZ_API VQZ_MUST_CHECK vqz_status vqz_encoder_create(vqz_encoder **encoder, vqz_context *context,
                                                     const vqz_model *model, uint32_t width,
                                                     uint32_t height, uint32_t channels,
                                                     const vqz_encode_options *options,
                                                     vqz_diag *diag);
/* The next `count` rows, from the top, `stride` bytes apart. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_encoder_write(vqz_encoder *encoder, const uint8_t *rows,
                                                    size_t stride, uint32_t count, vqz_diag *diag);
/* After the last row: *file receives *file_size bytes to be released with vqz_free. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_encoder_finish(vqz_encoder *encoder, void **file,
                                                     size_t *file_size, vqz_diag *diag);
VQZ_API void vqz_encoder_free(vqz_encoder *encoder);

/* Decodes a file into bands of rows, with the pixels of vqz_decode.  Context, model and file must outlive
   the decoder.  Damage may show at any row: a picture is good once its last row has been read.  After
   a failure only vqz_decoder_free is allowed. */
typedef struct vqz_decoder vqz_decoder;
VQZ_API VQZ_MUST_CHECK vqz_status vqz_decoder_create(vqz_decoder **decoder, vqz_context *context,
                                                     const vqz_model *model, const void *file,
                                                     size_t file_size, vqz_diag *diag);
/* The next `count` rows, from the top, to `rows`, `stride` bytes apart. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_decoder_read(vqz_decoder *decoder, uint8_t *rows,
                                                   size_t stride, uint32_t count, vqz_diag *diag);
VQZ_API void vqz_decoder_free(vqz_decoder *decoder);

/* vqz_decoder_create with options; NULL: the defaults.  Rows are those of the region. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_decoder_create_with(vqz_decoder **decoder,
                                                          vqz_context *context,
                                                          const vqz_model *model, const void *file,
                                                          size_t file_size,
                                                          const vqz_decode_options *options,
                                                          vqz_diag *diag);
/* How much of a partial file was there: codes decoded so far, and codes of the tiles that were looked at,
   in all planes. */
VQZ_API void vqz_decoder_get_found(const vqz_decoder *decoder, uint64_t *found, uint64_t *codes);

/* ---- samples: pictures drawn from a model's prior ---- */

typedef struct vqz_sample_options {
    int quality;     /* as in vqz_encode_options */
    uint64_t seed;   /* the same seed gives the same pixels everywhere */
    int temperature; /* how daring the draws are, -16 to 8 quarter octaves: 0, the default, as the prior
                        says; negative values keep closer to what it expects */
} vqz_sample_options;
VQZ_API void vqz_sample_options_init(vqz_sample_options *options);
/* Draws a picture, whose size the caller has set up: the decoder runs on random bits in place of a file.
   The image has the model's channels.  ARGUMENT when the model has no prior. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_sample(vqz_context *context, const vqz_model *model,
                                             const vqz_sample_options *options,
                                             const vqz_image *image, vqz_diag *diag);

/* ---- metadata ---- */

typedef enum vqz_metadata { VQZ_METADATA_ICC = 1, VQZ_METADATA_EXIF = 2 } vqz_metadata;
/* Extracts a metadata block; *data is NULL and *size 0 when the file has none. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_read_metadata(const void *file, size_t file_size,
                                                    vqz_metadata kind, void **data, size_t *size,
                                                    vqz_diag *diag);
/* The same of a file that may have been cut behind its chunks. */
VQZ_API VQZ_MUST_CHECK vqz_status vqz_read_partial_metadata(const void *file, size_t file_size,
                                                            vqz_metadata kind, void **data,
                                                            size_t *size, vqz_diag *diag);

#ifdef __cplusplus
}
#endif
#endif
