/*
 * vqzdec.c - a second decoder of .vqz pictures: plain, slow, and written from the text alone.
 *
 *     cc -std=c99 -O2 -o vqzdec vqzdec.c -lzstd -lm
 *     vqzdec [-s] MODEL.vqm FILE.vqz [OUT.pnm]
 *
 * It shows that vqz-format.md and vqm-format.md are enough to decode every valid file, and it
 * refuses every file and every model that they call invalid.  It shares nothing with the library
 * but libzstd. Its sections follow those of the text, whose names and formulas it keeps.
 *
 * OUT is PGM or PPM, or PAM when there is alpha.  -s prints one line: WIDTHxHEIGHTxCHANNELS, then
 * the SHA-256 of the pixels (interleaved rows), of the ICC profile and of the EXIF block ("-":
 * none). A refusal is one line on stderr, "vqzdec: NAME: CLASS: REASON", and exit code 1.  CLASS is
 * "invalid", "unsupported" (what a later version may define), "limit" (more than this program wants
 * to hold) or "failed" (reading or writing).
 */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MEMORY_LIMIT   ((uint64_t)1 << 32) /* bytes, all allocations together */
#define PIXEL_LIMIT    ((uint64_t)1 << 28) /* of a picture */
#define BODY_LIMIT     ((uint64_t)1 << 26) /* bytes of a model's body */
#define METADATA_LIMIT ((uint64_t)1 << 26) /* bytes of an ICC profile or EXIF block */
#define MACS_LIMIT     250000              /* multiply-accumulates per pixel on either side */
#define WINDOW_LIMIT   ((uint64_t)1 << 23) /* bytes of zstd's window */

/* ---- refusing, and memory ---- */

static const char *reading; /* the file that a message is about */

#ifdef __GNUC__
__attribute__((noreturn, format(printf, 2, 3)))
#endif
static void
refuse(const char *class, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "vqzdec: %s: %s: ", reading, class);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            refuse("invalid", __VA_ARGS__);                                                        \
    } while (0)

/* All memory starts as zeros, is counted, and is kept until the program ends. */
typedef union block {
    union block *next;
    long double aligned;
} block;

static block *blocks;
static uint64_t memory_used;

static void release_all(void) {
    while (blocks) {
        block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

static void *allocate(uint64_t count, uint64_t size) {
    block *made;
    if (count > (MEMORY_LIMIT - memory_used) / size)
        refuse("limit", "needs more than %d MiB of memory", (int)(MEMORY_LIMIT >> 20));
    made = calloc(1, sizeof(block) + (size_t)(count * size));
    if (!made)
        refuse("limit", "out of memory");
    memory_used += count * size;
    made->next = blocks;
    blocks = made;
    return made + 1;
}

/* ---- conventions: integers and arrays ---- */

/* Bytes that are still to be read. */
typedef struct bytes {
    const uint8_t *at, *end;
} bytes;

static uint64_t bytes_left(const bytes *in) {
    return (uint64_t)(in->end - in->at);
}

/* Splits off the next `size` bytes. */
static bytes take(bytes *in, uint64_t size) {
    bytes part;
    REQUIRE(size <= bytes_left(in), "ends too early");
    part.at = in->at;
    part.end = in->at += size;
    return part;
}

static int read_u8(bytes *in) {
    return *take(in, 1).at;
}

/* A u8 from `low` to `high`. */
static int read_u8_in(bytes *in, int low, int high, const char *what) {
    int value = read_u8(in);
    REQUIRE(value >= low && value <= high, "%s is %d, not %d..%d", what, value, low, high);
    return value;
}

static uint64_t read_varint(bytes *in) {
    uint64_t value = 0;
    for (int i = 0;; i++) {
        uint64_t byte = (uint64_t)read_u8(in);
        REQUIRE(i < 9 || byte <= 1, "a varint of 2^64 or more");
        value |= (byte & 127) << (7 * i);
        if (byte < 128) {
            REQUIRE(byte != 0 || i == 0, "a varint longer than needed");
            return value;
        }
    }
}

/* A varint from `low` to `high`. */
static uint64_t read_varint_in(bytes *in, uint64_t low, uint64_t high, const char *what) {
    uint64_t value = read_varint(in);
    REQUIRE(value >= low && value <= high, "%s is %llu, not %llu..%llu", what,
            (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
    return value;
}

/* `count` integers of `width` bytes, split into runs from low to high bytes.  (Those of four bytes
   are below 2^31 or signed wherever the text has them: u32 of 2^31 or more come back negative.) */
static int32_t *read_array(bytes *in, uint64_t count, int width, int is_signed) {
    const uint8_t *at = take(in, count * (uint64_t)width).at;
    int32_t *values = allocate(count, sizeof(*values));
    for (uint64_t i = 0; i < count; i++) {
        int64_t value = 0;
        for (int b = 0; b < width; b++)
            value |= (int64_t)at[(uint64_t)b * count + i] << (8 * b);
        if ((is_signed || width == 4) && value >> (8 * width - 1) != 0)
            value -= (int64_t)1 << (8 * width);
        values[i] = (int32_t)value;
    }
    return values;
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* a >> n of the text, also for negative a. */
static int64_t shift_right(int64_t a, int n) {
    return floor_div(a, (int64_t)1 << n);
}

/* What is added before a shift so that it rounds. */
static int64_t half_of(int shift) {
    return shift == 0 ? 0 : (int64_t)1 << (shift - 1);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

static int clamp_bits(int64_t value, int bits) {
    int64_t half = (int64_t)1 << (bits - 1);
    return (int)clamp(value, -half, half - 1);
}

static uint64_t divide_up(uint64_t a, uint64_t b) {
    return (a + b - 1) / b;
}

/* ceil(log2 value) */
static int bits_for(int value) {
    int bits = 0;
    while (1 << bits < value)
        bits++;
    return bits;
}

/* ---- checksums ---- */

static uint32_t crc32_of(const uint8_t *data, uint64_t size) {
    uint32_t crc = 0xFFFFFFFFu;
    for (uint64_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int b = 0; b < 8; b++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return crc ^ 0xFFFFFFFFu;
}

/* FIPS 180-4, 4.2.2 */
static const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t value, int n) {
    return value >> n | value << (32 - n);
}

static void sha256_block(uint32_t state[8], const uint8_t *data) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 |
               (uint32_t)data[4 * i + 2] << 8 | data[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof(v));
    for (int i = 0; i < 64; i++) {
        uint32_t a = v[0], e = v[4];
        uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                      ((e & v[5]) ^ (~e & v[6])) + sha256_constants[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof(*v));
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

static void sha256(const uint8_t *data, uint64_t size, uint8_t digest[32]) {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t tail[128] = {0};
    uint64_t whole = size / 64 * 64, rest = size - whole, padded = rest < 56 ? 64 : 128;
    for (uint64_t i = 0; i < whole; i += 64)
        sha256_block(state, data + i);
    if (rest > 0)
        memcpy(tail, data + whole, (size_t)rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[padded - 1 - (uint64_t)i] = (uint8_t)(size * 8 >> (8 * i));
    for (uint64_t i = 0; i < padded; i += 64)
        sha256_block(state, tail + i);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- zstd frames (RFC 8878) ---- */

/* The bytes that a window descriptor stands for. */
static uint64_t window_of(int descriptor) {
    uint64_t base = (uint64_t)1 << (10 + (descriptor >> 3));
    return base + base / 8 * (uint64_t)(descriptor & 7);
}

/* Walks over the blocks of a frame, whose header has been read, and returns how many there are.
   `in` then stands behind the last one. */
static uint64_t walk_blocks(bytes *in, uint64_t window) {
    uint64_t most = window < 1 << 17 ? window : 1 << 17; /* Block_Maximum_Size */
    for (uint64_t count = 1;; count++) {
        const uint8_t *at = take(in, 3).at;
        uint32_t header = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
        int type = header >> 1 & 3;
        REQUIRE(type != 3, "a zstd block of the reserved type");
        REQUIRE(header >> 3 <= most, "a zstd block is too large");
        take(in, type == 1 ? 1 : header >> 3);
        if (header & 1)
            return count;
    }
}

/* Decodes one whole frame to exactly `size` bytes.  `head`, which may be empty, is what the format
   leaves out at its beginning. */
static uint8_t *unzstd(const char *head, size_t head_size, bytes frame, uint64_t size,
                       bytes dictionary) {
    size_t frame_size = (size_t)bytes_left(&frame), got;
    uint8_t *whole = allocate(head_size + frame_size, 1), *raw = allocate(size + 1, 1);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        refuse("limit", "out of memory");
    memcpy(whole, head, head_size);
    memcpy(whole + head_size, frame.at, frame_size);
    got = ZSTD_decompress_usingDict(context, raw, (size_t)size, whole, head_size + frame_size,
                                    dictionary.at, (size_t)bytes_left(&dictionary));
    ZSTD_freeDCtx(context);
    REQUIRE(!ZSTD_isError(got), "a zstd frame is damaged: %s", ZSTD_getErrorName(got));
    REQUIRE(got == size, "a zstd frame yields %llu bytes, not %llu", (unsigned long long)got,
            (unsigned long long)size);
    return raw;
}

/* A formatted dictionary: its magic number, and tables that zstd can read. */
static void check_dictionary(bytes dictionary) {
    size_t result;
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        refuse("limit", "out of memory");
    result = ZSTD_DCtx_loadDictionary(context, dictionary.at, (size_t)bytes_left(&dictionary));
    ZSTD_freeDCtx(context);
    REQUIRE(bytes_left(&dictionary) >= 8 && memcmp(dictionary.at, "\x37\xA4\x30\xEC", 4) == 0 &&
                !ZSTD_isError(result),
            "a dictionary is not a formatted zstd dictionary");
}

/* ---- model: networks ---- */

enum { CONV = 1, ACT = 2, S2D = 3, D2S = 4 };

/* A register as rules 2, 4 and 5 see it. */
typedef struct shape {
    int channels, scale, bits;
} shape;

typedef struct op {
    int kind, src, activation, slope;
    int add, kernel, stride, bits, bias_sets; /* CONV; add is -1 for none */
    int block;                                /* S2D and D2S */
    int32_t *shift, *weights, *biases;
} op;

typedef struct net {
    int count;
    op ops[64];
    shape registers[65];
} net;

static void read_activation(op *o, bytes *in) {
    o->activation = read_u8_in(in, 0, 2, "an activation");
    o->slope = o->activation == 2 ? read_u8_in(in, 1, 8, "the slope of a leaky ReLU")
                                  : read_u8_in(in, 0, 0, "the slope of no leaky ReLU");
}

/* Rule 6. */
static void check_overflow(const op *o, int channels, uint64_t taps, int source_bits) {
    for (int oc = 0; oc < channels; oc++) {
        int64_t sum = 0, bias = 0;
        for (uint64_t i = 0; i < taps; i++)
            sum += llabs(o->weights[(uint64_t)oc * taps + i]);
        for (int set = 0; set < o->bias_sets; set++) {
            int64_t b = llabs((long long)o->biases[set * channels + oc]);
            bias = b > bias ? b : bias;
        }
        sum = sum * ((int64_t)1 << (source_bits - 1)) + bias + half_of(o->shift[oc]) + 32768;
        REQUIRE(sum <= 2147483647, "a convolution can overflow (rule 6)");
    }
}

static shape read_convolution(op *o, bytes *in, const net *n, int index, int most, int levels) {
    shape source = n->registers[o->src], made;
    uint64_t taps;
    read_activation(o, in);
    o->add = read_u8(in);
    o->kernel = read_u8_in(in, 1, 5, "a kernel");
    o->stride = read_u8_in(in, 1, 2, "the stride of a convolution");
    REQUIRE(o->kernel >= o->stride, "a kernel smaller than its stride");
    o->bits = read_u8_in(in, 2, 16, "the bits of a convolution");
    o->bias_sets = read_u8(in);
    REQUIRE(o->bias_sets == 1 || o->bias_sets == levels, "the number of bias sets is not 1 or L");
    made.channels = (int)read_varint_in(in, 1, (uint64_t)most, "the channels of a convolution");
    made.scale = source.scale + (o->stride == 2);
    made.bits = o->bits;
    if (o->add == 255) {
        o->add = -1;
    } else {
        REQUIRE(o->add <= index, "an add register is not there yet");
        REQUIRE(n->registers[o->add].channels == made.channels &&
                    n->registers[o->add].scale == made.scale,
                "an add register has another shape");
    }
    o->shift = allocate((uint64_t)made.channels, sizeof(*o->shift));
    for (int oc = 0; oc < made.channels; oc++)
        o->shift[oc] = read_u8_in(in, 0, 30, "a shift");
    taps = (uint64_t)(o->kernel * o->kernel * source.channels);
    o->weights = read_array(in, taps * (uint64_t)made.channels, 2, 1);
    o->biases = read_array(in, (uint64_t)(o->bias_sets * made.channels), 4, 1);
    check_overflow(o, made.channels, taps, source.bits);
    return made;
}

static shape read_block_op(op *o, bytes *in, shape source) {
    shape made = source;
    int area;
    o->block = read_u8(in);
    REQUIRE(o->block == 2 || o->block == 4 || o->block == 8, "a block is not 2, 4 or 8");
    area = o->block * o->block;
    if (o->kind == S2D) {
        made.channels = source.channels * area;
        made.scale += bits_for(o->block);
    } else {
        REQUIRE(source.channels % area == 0, "D2S of channels that its block does not divide");
        made.channels = source.channels / area;
        made.scale -= bits_for(o->block);
    }
    return made;
}

/* Reads a net with rules 1 to 6, but for those about its last register, which may have up to `most`
   channels.  Scales stay within low..high. */
static void read_net(net *n, bytes *in, shape input, int low, int high, int most, int levels) {
    n->count = read_u8_in(in, 1, 64, "the number of ops");
    n->registers[0] = input;
    for (int i = 0; i < n->count; i++) {
        op *o = &n->ops[i];
        shape *made = &n->registers[i + 1];
        int limit = i + 1 == n->count ? most : 1024;
        o->kind = read_u8_in(in, CONV, D2S, "the kind of an op");
        o->src = read_u8_in(in, 0, i, "the source of an op");
        if (o->kind == CONV) {
            *made = read_convolution(o, in, n, i, limit, levels);
        } else if (o->kind == ACT) {
            *made = n->registers[o->src];
            read_activation(o, in);
        } else {
            *made = read_block_op(o, in, n->registers[o->src]);
        }
        REQUIRE(made->channels <= limit, "a register of more than %d channels", limit);
        REQUIRE(made->scale >= low && made->scale <= high, "a register's scale is out of range");
    }
}

/* Multiply-accumulates per pixel times 4^log2_stride; register 0 has scale `scale` against the
 * picture. */
static uint64_t net_macs(const net *n, int scale, int log2_stride) {
    uint64_t sum = 0;
    for (int i = 0; i < n->count; i++) {
        const op *o = &n->ops[i];
        shape made = n->registers[i + 1];
        if (o->kind == CONV)
            sum += (uint64_t)(o->kernel * o->kernel) * (uint64_t)n->registers[o->src].channels *
                       (uint64_t)made.channels
                   << 2 * (log2_stride - scale - made.scale);
    }
    return sum;
}

/* ---- model: the rest of the body ---- */

typedef struct plane {
    int codes, dims, books, ordered;
    int channels[64];
    int32_t *codebook; /* (books, codes, dims) */
    int first_stream;  /* its number in a tile */
} plane;

typedef struct stage {
    int first, end;                 /* planes */
    int first_channel, end_channel; /* of the latents */
    net network;
} stage;

typedef struct model {
    int version;
    uint8_t hash[32];
    int channels, stride, log2_stride, levels, latent_bits, pixel_shift, step_shift,
        latent_channels;
    net analysis, synthesis;
    int32_t *steps; /* (levels, latent_channels) */
    int plane_count, streams;
    plane planes[64];
    bytes *dictionaries; /* (levels, streams) */
    int stage_count, gain_shift;
    int32_t *gains, *mean_gains; /* (latent_channels) */
    int class_bits[40];
    int32_t *frequencies; /* (40, 5, 16) */
    stage stages[32];
} model;

static int stream_count(const plane *p) {
    return p->codes <= 256 ? 1 : 2;
}

static void read_plane(plane *p, bytes *in, const model *m) {
    p->codes = (int)read_varint_in(in, 2, 4096, "the number of codes");
    p->dims = read_u8_in(in, 1, 64, "the dims of a plane");
    p->books = read_u8(in);
    REQUIRE(p->books == 1 || p->books == m->levels, "the number of books is not 1 or L");
    p->ordered = read_u8_in(in, 0, p->dims == 1, "ordered");
    for (int i = 0; i < p->dims; i++) {
        p->channels[i] = read_u8_in(in, 0, m->latent_channels - 1, "the channel of a plane");
        REQUIRE(i == 0 || p->channels[i] > p->channels[i - 1], "channels that do not increase");
    }
    p->codebook = read_array(in, (uint64_t)p->books * (uint64_t)p->codes * (uint64_t)p->dims, 2, 1);
    take(in, (uint64_t)(m->levels * p->codes)); /* rates */
}

static void read_dictionaries(model *m, bytes *in) {
    m->dictionaries = allocate((uint64_t)(m->levels * m->streams), sizeof(*m->dictionaries));
    for (int i = 0; i < m->levels * m->streams; i++) {
        m->dictionaries[i] = take(in, read_varint_in(in, 0, 65536, "the size of a dictionary"));
        if (bytes_left(&m->dictionaries[i]) > 0)
            check_dictionary(m->dictionaries[i]);
    }
}

/* Rule 8. */
static void check_channels(const model *m) {
    int channel = 0;
    for (int p = 0; p < m->plane_count; p++)
        for (int i = 0; i < m->planes[p].dims; i++, channel++)
            REQUIRE(m->planes[p].channels[i] == channel,
                    "the planes of a model with a prior do not share out the channels in order");
    REQUIRE(channel == m->latent_channels, "a channel belongs to no plane");
}

/* Rules 9 and 10. */
static void check_stage(const model *m, const stage *s) {
    const net *n = &s->network;
    int k = n->ops[0].kernel, outputs = 0, input = s->end_channel;
    REQUIRE(n->count == 3, "a stage has %d ops, not 3", n->count);
    for (int i = 0; i < 3; i++)
        REQUIRE(n->ops[i].kind == CONV && n->ops[i].src == i && n->ops[i].add == -1 &&
                    n->ops[i].stride == 1 && (i == 0 || n->ops[i].kernel == 1),
                "op %d of a stage is not the convolution it has to be", i);
    REQUIRE(k == 3 || k == 5, "the kernel of a stage is %d, not 3 or 5", k);
    for (int p = s->first; p < s->end; p++)
        outputs += m->planes[p].ordered ? 2 : m->planes[p].codes;
    REQUIRE(n->registers[3].channels == outputs, "a stage has %d outputs, not %d",
            n->registers[3].channels, outputs);
    for (int oc = 0; oc < n->registers[1].channels; oc++)
        for (int tap = (k * k - 1) / 2; tap < k * k; tap++)
            for (int ic = s->first_channel; ic < input; ic++)
                REQUIRE(n->ops[0].weights[(oc * k * k + tap) * input + ic] == 0,
                        "a stage sees what is not decoded yet (rule 10)");
}

static void read_prior_tables(model *m, bytes *in) {
    m->gain_shift = read_u8_in(in, 0, 15, "gain_shift");
    m->gains = read_array(in, (uint64_t)m->latent_channels, 2, 0);
    m->mean_gains = read_array(in, (uint64_t)m->latent_channels, 4, 0);
    for (int p = 0; p < m->plane_count; p++)
        for (int i = 0; i < m->planes[p].dims; i++) {
            int32_t gain = m->mean_gains[m->planes[p].channels[i]];
            REQUIRE(gain >= 0, "a mean gain of 2^31 or more");
            REQUIRE(gain == 0 || m->planes[p].ordered,
                    "a mean gain of a plane that is not ordered");
        }
    for (int i = 0; i < 40; i++)
        m->class_bits[i] = read_u8_in(in, 0, 8, "class_bits");
    m->frequencies = read_array(in, 40 * 5 * 16, 2, 0);
    for (int i = 0; i < 40 * 5; i++) {
        int sum = 0;
        for (int symbol = 0; symbol < 16; symbol++) {
            REQUIRE(m->frequencies[i * 16 + symbol] >= 1, "a frequency of zero");
            sum += m->frequencies[i * 16 + symbol];
        }
        REQUIRE(sum == 65536, "frequencies that do not sum to 2^16");
    }
}

static void read_prior(model *m, bytes *in) {
    int first = 0;
    check_channels(m);
    m->stage_count = read_u8_in(in, 1, 32, "the number of stages");
    read_prior_tables(m, in);
    for (int i = 0; i < m->stage_count; i++) {
        stage *s = &m->stages[i];
        shape input = {0, 0, 13};
        s->first = first;
        s->end = first += read_u8_in(in, 1, m->plane_count - first, "the planes of a stage");
        s->first_channel = m->planes[s->first].channels[0];
        s->end_channel = m->planes[s->end - 1].channels[m->planes[s->end - 1].dims - 1] + 1;
        input.channels = s->end_channel;
        read_net(&s->network, in, input, 0, 0, 4096, m->levels);
        check_stage(m, s);
    }
    REQUIRE(first == m->plane_count, "the stages do not cover all planes");
}

static void read_networks(model *m, bytes *in) {
    shape picture = {0, 0, 8}, latent = {0, 0, 0}, made;
    picture.channels = m->channels;
    latent.channels = m->latent_channels;
    latent.bits = m->latent_bits;
    read_net(&m->analysis, in, picture, 0, m->log2_stride, 1024, m->levels);
    made = m->analysis.registers[m->analysis.count];
    REQUIRE(made.scale == m->log2_stride && made.channels == m->latent_channels &&
                made.bits == m->latent_bits,
            "the analysis does not make latents");
    read_net(&m->synthesis, in, latent, -m->log2_stride, 0, 1024, m->levels);
    made = m->synthesis.registers[m->synthesis.count];
    REQUIRE(made.scale == -m->log2_stride && made.channels == m->channels,
            "the synthesis does not make pictures");
}

/* Rule 7. */
static void check_work(const model *m) {
    uint64_t limit = (uint64_t)MACS_LIMIT << 2 * m->log2_stride;
    uint64_t decoding = net_macs(&m->synthesis, m->log2_stride, m->log2_stride);
    for (int i = 0; i < m->stage_count; i++)
        decoding += net_macs(&m->stages[i].network, m->log2_stride, m->log2_stride);
    if (decoding > limit || net_macs(&m->analysis, 0, m->log2_stride) > limit)
        refuse("limit", "needs more than %d multiplications a pixel", MACS_LIMIT);
}

static void read_body(model *m, bytes in) {
    int32_t *lambdas;
    m->channels = read_u8(&in);
    REQUIRE(m->channels == 1 || m->channels == 3 || m->channels == 4, "channels are not 1, 3 or 4");
    m->stride = read_u8_in(&in, 2, 32, "the stride");
    m->log2_stride = bits_for(m->stride);
    REQUIRE(m->stride == 1 << m->log2_stride, "the stride is not a power of two");
    m->levels = read_u8_in(&in, 1, 16, "the number of levels");
    m->latent_bits = read_u8_in(&in, 2, 13, "latent_bits");
    m->pixel_shift = read_u8_in(&in, 0, 8, "pixel_shift");
    m->step_shift = read_u8_in(&in, 0, 15, "step_shift");
    m->latent_channels = (int)read_varint_in(&in, 1, 256, "the number of latent channels");
    read_networks(m, &in);
    m->steps = read_array(&in, (uint64_t)(m->levels * m->latent_channels), 2, 0);
    for (int i = 0; i < m->levels * m->latent_channels; i++)
        REQUIRE(m->steps[i] >= 1 && m->steps[i] <= 32767, "a step is not 1..32767");
    lambdas = read_array(&in, (uint64_t)m->levels, 4, 0);
    for (int i = 0; i < m->levels; i++)
        REQUIRE(lambdas[i] >= 0 && lambdas[i] < 1 << 28, "a lambda of 2^28 or more");
    m->plane_count = read_u8_in(&in, 1, 64, "the number of planes");
    for (int i = 0; i < m->plane_count; i++) {
        read_plane(&m->planes[i], &in, m);
        m->planes[i].first_stream = m->streams;
        m->streams += stream_count(&m->planes[i]);
    }
    read_dictionaries(m, &in);
    if (m->version == 2)
        read_prior(m, &in);
    REQUIRE(bytes_left(&in) == 0, "bytes behind the end of the body");
    check_work(m);
}

/* The body's frame is of any kind of RFC 8878 that the text allows: all of its header is looked at.
 */
static uint8_t *unpack_body(bytes frame, uint64_t size) {
    bytes in = frame, none = {NULL, NULL}, id;
    uint64_t window = 0, count;
    int descriptor, single, content_bytes;
    REQUIRE(memcmp(take(&in, 4).at, "\x28\xB5\x2F\xFD", 4) == 0, "the body is not a zstd frame");
    descriptor = read_u8(&in);
    single = descriptor >> 5 & 1;
    content_bytes = descriptor >> 6 == 0 ? single : 1 << (descriptor >> 6);
    REQUIRE((descriptor & 8) == 0, "the reserved bit of a zstd frame is set");
    if (!single)
        window = window_of(read_u8(&in));
    id = take(&in, (descriptor & 3) == 3 ? 4 : descriptor & 3);
    while (id.at < id.end)
        REQUIRE(*id.at++ == 0, "the body's frame has a dictionary");
    for (int i = 0; i < content_bytes; i++) {
        uint64_t byte = (uint64_t)read_u8(&in);
        if (single)
            window |= byte << (8 * i);
    }
    window += single && content_bytes == 2 ? 256 : 0;
    REQUIRE(window <= WINDOW_LIMIT, "the window of the body's frame is larger than 2^23");
    count = walk_blocks(&in, window);
    take(&in, descriptor & 4); /* its checksum, four bytes, when this bit is set */
    REQUIRE(bytes_left(&in) == 0, "bytes behind the frame of the body");
    REQUIRE(size <= count << 17, "the frame cannot hold a body of the stated size");
    return unzstd("", 0, frame, size, none);
}

static void read_model(model *m, bytes in) {
    uint64_t size;
    bytes hash, card;
    uint8_t *body, digest[32];
    REQUIRE(bytes_left(&in) >= 3 && memcmp(take(&in, 3).at, "VQM", 3) == 0, "not a .vqm file");
    m->version = read_u8(&in);
    if (m->version != 1 && m->version != 2)
        refuse("unsupported", "version %d", m->version);
    size = read_varint(&in);
    if (size > BODY_LIMIT)
        refuse("limit", "a body of more than %d bytes", (int)BODY_LIMIT);
    hash = take(&in, 32);
    card = take(&in, read_varint_in(&in, 0, 1 << 20, "the size of the card"));
    REQUIRE(memchr(card.at, 0, (size_t)bytes_left(&card)) == NULL, "a zero byte in the card");
    body = unpack_body(in, size);
    sha256(body, size, digest);
    REQUIRE(memcmp(digest, hash.at, 32) == 0, "the body does not match its hash");
    memcpy(m->hash, digest, 32);
    in.at = body;
    in.end = body + size;
    read_body(m, in);
}

/* ---- networks ---- */

/* A register: (height, width, channels) */
typedef struct tensor {
    int64_t height, width;
    int channels;
    int16_t *values;
} tensor;

static tensor make_tensor(int64_t height, int64_t width, int channels) {
    tensor made;
    made.height = height;
    made.width = width;
    made.channels = channels;
    made.values =
        allocate((uint64_t)height * (uint64_t)width * (uint64_t)channels, sizeof(int16_t));
    return made;
}

static int16_t *at(const tensor *t, int64_t y, int64_t x) {
    return t->values + (y * t->width + x) * t->channels;
}

static int64_t activate(const op *o, int64_t t) {
    return t >= 0 || o->activation == 0 ? t : o->activation == 1 ? 0 : shift_right(t, o->slope);
}

/* One position (channels of dst) of a CONV at (y, x) of its output; `bias` is that of the level,
   `add` may be NULL. */
static void convolve_at(const op *o, const int32_t *bias, const tensor *src, int64_t y, int64_t x,
                        const int16_t *add, int16_t *dst, int channels) {
    int pad = (o->kernel - 1) / 2;
    for (int oc = 0; oc < channels; oc++) {
        const int32_t *w = o->weights + (int64_t)oc * o->kernel * o->kernel * src->channels;
        int32_t acc = bias[oc];
        int64_t t;
        for (int ky = 0; ky < o->kernel; ky++)
            for (int kx = 0; kx < o->kernel; kx++, w += src->channels) {
                int64_t sy = y * o->stride + ky - pad, sx = x * o->stride + kx - pad;
                if (sy < 0 || sy >= src->height || sx < 0 || sx >= src->width)
                    continue;
                for (int ic = 0; ic < src->channels; ic++)
                    acc += w[ic] * at(src, sy, sx)[ic];
            }
        t = shift_right(acc + half_of(o->shift[oc]), o->shift[oc]);
        t += add ? add[oc] : 0;
        dst[oc] = (int16_t)clamp_bits(activate(o, t), o->bits);
    }
}

/* Fills dst with an op of any kind. */
static void run_op(const op *o, const int32_t *bias, const tensor *src, const tensor *add,
                   tensor *dst) {
    const tensor *fine = o->kind == S2D ? src : dst, *coarse = o->kind == S2D ? dst : src;
    if (o->kind == CONV) {
        for (int64_t y = 0; y < dst->height; y++)
            for (int64_t x = 0; x < dst->width; x++)
                convolve_at(o, bias, src, y, x, add ? at(add, y, x) : NULL, at(dst, y, x),
                            dst->channels);
    } else if (o->kind == ACT) {
        for (int64_t i = 0; i < dst->height * dst->width * dst->channels; i++)
            dst->values[i] = (int16_t)activate(o, src->values[i]);
    } else {
        int b = o->block;
        for (int64_t y = 0; y < fine->height; y++)
            for (int64_t x = 0; x < fine->width; x++) {
                int16_t *of_block = at(coarse, y / b, x / b) + (y % b * b + x % b) * fine->channels;
                size_t size = (size_t)fine->channels * sizeof(int16_t);
                if (o->kind == S2D)
                    memcpy(of_block, at(fine, y, x), size);
                else
                    memcpy(at(fine, y, x), of_block, size);
            }
    }
}

/* ---- qualities ---- */

typedef struct level {
    int lower, fraction, nearest;
    int32_t step[256]; /* of each latent channel */
} level;

/* Between rows `lower` and `lower + 1` of an array of (levels, row) values. */
static int32_t interpolate(const level *l, const int32_t *values, int row, int i) {
    int64_t a = values[l->lower * row + i], b;
    if (l->fraction == 0)
        return (int32_t)a;
    b = values[(l->lower + 1) * row + i];
    return (int32_t)floor_div(a * (99 - l->fraction) + b * l->fraction + 49, 99);
}

static level level_of(const model *m, int quality) {
    level l;
    int t = (quality - 1) * (m->levels - 1);
    l.lower = t / 99;
    l.fraction = t % 99;
    l.nearest = l.lower + (l.fraction >= 50);
    for (int c = 0; c < m->latent_channels; c++)
        l.step[c] = interpolate(&l, m->steps, m->latent_channels, c);
    return l;
}

static int32_t *biases_of(const op *o, const level *l, int channels) {
    int32_t *biases = allocate((uint64_t)channels, sizeof(*biases));
    for (int oc = 0; oc < channels; oc++)
        biases[oc] = o->bias_sets == 1 ? o->biases[oc] : interpolate(l, o->biases, channels, oc);
    return biases;
}

static int entry_of(const model *m, const level *l, const plane *p, int code, int i) {
    int book = p->books == 1 ? 0 : l->nearest;
    int64_t value = p->codebook[((int64_t)book * p->codes + code) * p->dims + i];
    value = value * l->step[p->channels[i]] + half_of(m->step_shift);
    return clamp_bits(shift_right(value, m->step_shift), m->latent_bits);
}

/* ---- picture file ---- */

typedef struct file {
    int version, gray, alpha, scans, rans, quality;
    int64_t width, height;
    bytes hash, alpha_chunk, icc, exif; /* chunks that are not there: at is NULL */
    bytes codes;                        /* tiles, or index and segments */
} file;

static void read_chunks(file *f, bytes *in) {
    for (;;) {
        int type = read_u8(in);
        bytes *known = type == 0x01 ? &f->alpha_chunk : type == 0x81 ? &f->icc : &f->exif, chunk;
        if (type == 0)
            return;
        chunk = take(in, read_varint(in));
        if (type != 0x01 && type != 0x81 && type != 0x82) {
            if (type < 0x80)
                refuse("unsupported", "a chunk of type 0x%02x", (unsigned)type);
            continue;
        }
        REQUIRE(!known->at, "two chunks of type 0x%02x", (unsigned)type);
        *known = chunk;
    }
}

static void read_file(file *f, bytes in) {
    const uint8_t *start = in.at, *crc;
    int flags, quality;
    REQUIRE(bytes_left(&in) >= 3 && memcmp(take(&in, 3).at, "VQZ", 3) == 0, "not a .vqz file");
    flags = read_u8(&in);
    f->version = flags & 15;
    REQUIRE(f->version != 0, "version 0");
    if (f->version > 2)
        refuse("unsupported", "version %d", f->version);
    REQUIRE(bytes_left(&in) >= 4, "ends too early");
    crc = in.end -= 4;
    REQUIRE(crc32_of(start, (uint64_t)(crc - start)) ==
                (crc[0] | (uint32_t)crc[1] << 8 | (uint32_t)crc[2] << 16 | (uint32_t)crc[3] << 24),
            "the checksum does not match");
    f->gray = flags >> 4 & 1;
    f->alpha = flags >> 5 & 1;
    f->scans = flags >> 7 & 1;
    if (f->scans && f->version == 1)
        refuse("unsupported", "the reserved flag of version 1");
    f->hash = take(&in, 4);
    f->width = (int64_t)read_varint_in(&in, 0, 65534, "width - 1") + 1;
    f->height = (int64_t)read_varint_in(&in, 0, 65534, "height - 1") + 1;
    quality = read_u8(&in);
    f->quality = quality & 127;
    f->rans = quality >> 7;
    REQUIRE(f->quality >= 1 && f->quality <= 100, "the quality is %d", f->quality);
    REQUIRE(f->version == 2 || !f->rans, "version 1 with rANS");
    if (flags >> 6 & 1)
        read_chunks(f, &in);
    f->codes = in;
    if ((uint64_t)(f->width * f->height) > PIXEL_LIMIT)
        refuse("limit", "more than %d pixels", (int)PIXEL_LIMIT);
}

/* What file and model say about each other. */
static void check_pair(const file *f, const model *m) {
    REQUIRE(memcmp(f->hash.at, m->hash, 4) == 0, "made with another model");
    REQUIRE(f->version == m->version, "version %d under a model of version %d", f->version,
            m->version);
    REQUIRE(f->gray || m->channels != 1, "a colour picture under a gray model");
    REQUIRE(!f->alpha_chunk.at || f->alpha, "an alpha chunk without alpha");
    REQUIRE(!f->alpha_chunk.at || m->channels != 4, "an alpha chunk under a model with alpha");
    REQUIRE(f->alpha_chunk.at || !f->alpha || m->channels == 4, "alpha without an alpha chunk");
}

/* Packed metadata, whose raw size has been read. */
static bytes unpack_metadata(bytes chunk, uint64_t size) {
    bytes raw, none = {NULL, NULL}, frame;
    uint64_t window;
    frame = chunk;
    REQUIRE(read_u8(&chunk) == 0, "packed metadata with another frame header than 0x00");
    window = window_of(read_u8(&chunk));
    REQUIRE(window <= WINDOW_LIMIT, "packed metadata with a large window");
    walk_blocks(&chunk, window);
    REQUIRE(bytes_left(&chunk) == 0, "packed metadata go on behind their frame");
    raw.at = unzstd("\x28\xB5\x2F\xFD", 4, frame, size, none);
    raw.end = raw.at + size;
    return raw;
}

/* An ICC profile or EXIF block. */
static bytes read_metadata(bytes chunk) {
    uint64_t size = read_varint(&chunk);
    if (size > METADATA_LIMIT)
        refuse("limit", "metadata of more than %d bytes", (int)METADATA_LIMIT);
    return unpack_metadata(chunk, size);
}

/* ---- decoding codes ---- */

typedef struct decoder {
    const model *model;
    const file *file;
    level level;
    int64_t rows, columns;
    int32_t *latents; /* (rows, columns, latent_channels): sums of entries */
} decoder;

typedef struct tile {
    int64_t y, x, rows, columns; /* latent positions */
} tile;

static int32_t *latent_at(const decoder *d, int64_t y, int64_t x) {
    return d->latents + (y * d->columns + x) * d->model->latent_channels;
}

static void place_code(decoder *d, const plane *p, int64_t y, int64_t x, int code) {
    for (int i = 0; i < p->dims; i++)
        latent_at(d, y, x)[p->channels[i]] += entry_of(d->model, &d->level, p, code, i);
}

/* ---- streams ---- */

static int predict(const uint8_t *v, int64_t columns, int64_t y, int64_t x) {
    int w = x > 0 ? v[-1] : 0, n = y > 0 ? v[-columns] : 0, nw;
    if (y == 0 || x == 0)
        return y == 0 ? w : n;
    nw = v[-columns - 1];
    if (nw >= (w > n ? w : n))
        return w < n ? w : n;
    if (nw <= (w < n ? w : n))
        return w > n ? w : n;
    return w + n - nw;
}

/* Turns residuals into symbols below `alphabet`, in place. */
static void undo_filter(uint8_t *symbols, int64_t rows, int64_t columns, int alphabet) {
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < columns; x++) {
            uint8_t *v = symbols + y * columns + x;
            *v = (uint8_t)((*v + predict(v, columns, y, x)) % alphabet);
        }
}

static uint8_t *unpack_bits(bytes *in, uint64_t n, int bits) {
    uint64_t size = divide_up(n * (uint64_t)bits, 8);
    const uint8_t *packed = take(in, size).at;
    uint8_t *symbols = allocate(n, 1);
    for (uint64_t j = 0; j < 8 * size; j++) {
        int bit = packed[j / 8] >> (j % 8) & 1;
        REQUIRE(j < n * (uint64_t)bits || bit == 0, "padding bits are set");
        if (bit)
            symbols[j / (uint64_t)bits] |= (uint8_t)(1 << j % (uint64_t)bits);
    }
    return symbols;
}

/* Stream `number` of a tile: (rows, columns) symbols of the tile. */
static uint8_t *read_stream(const decoder *d, bytes *in, const tile *t, int alphabet, int number) {
    const model *m = d->model;
    uint64_t n = (uint64_t)(t->rows * t->columns), header = read_varint(in), argument = header >> 3;
    uint64_t packed = divide_up(n * (uint64_t)bits_for(alphabet), 8);
    int method = header & 3, filter = header >> 2 & 1;
    bytes dictionary = {NULL, NULL};
    uint8_t *symbols;
    if (method == 0) {
        REQUIRE(argument == 0, "a packed stream with an argument");
        symbols = unpack_bits(in, n, bits_for(alphabet));
    } else if (method == 3) {
        REQUIRE(argument < (uint64_t)alphabet, "a constant outside the alphabet");
        symbols = allocate(n, 1);
        memset(symbols, (int)argument, (size_t)n);
    } else {
        bytes frame, blocks_of_frame;
        REQUIRE(argument <= packed, "a zstd stream longer than the packed one");
        frame = blocks_of_frame = take(in, argument);
        walk_blocks(&blocks_of_frame, 1 << 17);
        REQUIRE(bytes_left(&blocks_of_frame) == 0, "a zstd stream goes on behind its last block");
        if (method == 2) {
            dictionary = m->dictionaries[d->level.nearest * m->streams + number];
            REQUIRE(bytes_left(&dictionary) > 0, "a dictionary that the model does not have");
        }
        symbols = unzstd("\x28\xB5\x2F\xFD\x00\x38", 6, frame, n, dictionary);
    }
    for (uint64_t i = 0; i < n; i++)
        REQUIRE(symbols[i] < alphabet, "a symbol outside the alphabet");
    if (filter)
        undo_filter(symbols, t->rows, t->columns, alphabet);
    return symbols;
}

/* The streams of planes first..end - 1 of a tile. */
static void read_streams(decoder *d, bytes *in, const tile *t, int first, int end) {
    for (int i = first; i < end; i++) {
        const plane *p = &d->model->planes[i];
        int wide = stream_count(p) == 2;
        uint8_t *low = read_stream(d, in, t, wide ? 256 : p->codes, p->first_stream), *high = NULL;
        if (wide)
            high = read_stream(d, in, t, (p->codes - 1) / 256 + 1, p->first_stream + 1);
        for (int64_t j = 0; j < t->rows * t->columns; j++) {
            int code = low[j] + (high ? 256 * high[j] : 0);
            REQUIRE(code < p->codes, "a code of %d or more", p->codes);
            place_code(d, p, t->y + j / t->columns, t->x + j % t->columns, code);
        }
    }
}

/* ---- rANS ---- */

typedef struct rans {
    bytes in;
    uint64_t x;
} rans;

static void refill(rans *r) {
    while (r->x < (uint64_t)1 << 55 && bytes_left(&r->in) > 0)
        r->x = 256 * r->x + *r->in.at++;
}

static rans start_rans(bytes in) {
    rans r;
    uint64_t size = bytes_left(&in);
    REQUIRE(size == 0 || (*in.at != 0 && !(size == 1 && *in.at == 1)),
            "a rANS stream that starts with 0, or is the one byte 1");
    r.in = in;
    r.x = size == 0;
    refill(&r);
    return r;
}

static void finish_rans(const rans *r) {
    REQUIRE(r->x == 1 && bytes_left(&r->in) == 0, "a rANS stream does not end where it should");
}

static int slot_of(const rans *r) {
    return (int)(r->x & 65535);
}

static void advance(rans *r, int start, int frequency) {
    r->x = (uint64_t)frequency * (r->x >> 16) + (uint64_t)(slot_of(r) - start);
    refill(r);
}

/* The symbol with its frequencies, which sum to 2^16. */
static int decode_symbol(rans *r, const int32_t *frequencies) {
    int symbol = 0, start = 0, slot = slot_of(r);
    while (slot >= start + frequencies[symbol])
        start += frequencies[symbol++];
    advance(r, start, frequencies[symbol]);
    return symbol;
}

/* n equally likely bits, 0..16 of them. */
static int decode_bits(rans *r, int n) {
    int value = slot_of(r) >> (16 - n);
    if (n > 0)
        advance(r, value << (16 - n), 1 << (16 - n));
    return value;
}

/* ---- prior ---- */

static int32_t exp2_table[256];

static void make_exp2(void) {
    uint8_t table[512];
    for (int i = 0; i < 256; i++) {
        exp2_table[i] = (int32_t)floor(pow(2, 15 - i / 256.0) + 0.5);
        table[2 * i] = (uint8_t)exp2_table[i];
        table[2 * i + 1] = (uint8_t)(exp2_table[i] >> 8);
    }
    reading = "EXP2";
    if (crc32_of(table, sizeof(table)) != 0xA2726798u)
        refuse("failed", "this machine's pow() does not make the table");
}

static int decode_logits(rans *r, const int16_t *logits, int codes) {
    int32_t frequencies[4096];
    uint64_t sum = 0;
    int best = 0, rest = 65536;
    for (int k = 1; k < codes; k++)
        best = logits[k] > logits[best] ? k : best;
    for (int k = 0; k < codes; k++) {
        int t = logits[best] - logits[k];
        frequencies[k] = t >> 8 >= 16 ? 0 : exp2_table[t & 255] >> (t >> 8);
        sum += (uint64_t)frequencies[k];
    }
    for (int k = 0; k < codes; k++) {
        frequencies[k] = (int32_t)(1 + (uint64_t)frequencies[k] * (uint64_t)(65536 - codes) / sum);
        rest -= frequencies[k];
    }
    frequencies[best] += rest;
    return decode_symbol(r, frequencies);
}

static int decode_excess(rans *r, int b) {
    int n = 0;
    while (decode_bits(r, 1) == 0) {
        n++;
        REQUIRE(n + b <= 12, "an excess of more than 12 bits");
    }
    return (((1 << n) - 1) << b) + decode_bits(r, n + b);
}

static int decode_ordered(rans *r, const decoder *d, const plane *p, int m, int s) {
    int c = p->channels[0], zero = p->codes / 2, class, b, symbol, v;
    int64_t gain = d->model->mean_gains[c] / d->level.step[c], mean8, near, phase, rest;
    mean8 = shift_right(m * gain + (1 << 17), 18);
    mean8 = clamp(mean8, -8 * zero, 8 * (p->codes - 1 - zero));
    class = (int)clamp(shift_right(s + 32, 6), 0, 39);
    near = shift_right(mean8 + 4, 3);
    phase = mean8 - 8 * near;
    b = d->model->class_bits[class];
    symbol =
        decode_symbol(r, d->model->frequencies + (class * 5 + (phase < 0 ? -phase : phase)) * 16);
    if (symbol == 15)
        rest = 8 * (1 << b) + decode_excess(r, b);
    else if (symbol == 0)
        rest = -6 * (1 << b) - 1 - decode_excess(r, b);
    else
        rest = (symbol - 7) * (1 << b) + decode_bits(r, b);
    v = (int)(phase < 0 ? near - rest : near + rest);
    REQUIRE(v + zero >= 0 && v + zero < p->codes, "a code of an ordered plane is out of range");
    return v + zero;
}

/* Channels first..end - 1 of the context of a position of the tile. */
static void set_context(const decoder *d, const tile *t, tensor *context, int64_t y, int64_t x,
                        int first, int end) {
    const model *m = d->model;
    const int32_t *latent = latent_at(d, t->y + y, t->x + x);
    for (int c = first; c < end; c++) {
        int64_t value = (int64_t)latent[c] * m->gains[c] + half_of(m->gain_shift);
        at(context, y, x)[c] = (int16_t)clamp_bits(shift_right(value, m->gain_shift), 13);
    }
}

/* The planes of a stage at one position, given the output of its net there. */
static void decode_position(decoder *d, rans *r, const stage *s, int64_t y, int64_t x,
                            const int16_t *output) {
    for (int i = s->first; i < s->end; i++) {
        const plane *p = &d->model->planes[i];
        int code = p->ordered ? decode_ordered(r, d, p, output[0], output[1])
                              : decode_logits(r, output, p->codes);
        output += p->ordered ? 2 : p->codes;
        place_code(d, p, y, x, code);
    }
}

static void decode_stage(decoder *d, rans *r, const tile *t, const stage *s) {
    const net *n = &s->network;
    tensor context = make_tensor(t->rows, t->columns, s->end_channel), registers[3];
    int32_t *biases[3];
    for (int i = 0; i < 3; i++) {
        registers[i] = make_tensor(1, 1, n->registers[i + 1].channels);
        biases[i] = biases_of(&n->ops[i], &d->level, registers[i].channels);
    }
    for (int64_t y = 0; y < t->rows; y++)
        for (int64_t x = 0; x < t->columns; x++)
            set_context(d, t, &context, y, x, 0, s->first_channel);
    for (int64_t y = 0; y < t->rows; y++)
        for (int64_t x = 0; x < t->columns; x++) {
            convolve_at(&n->ops[0], biases[0], &context, y, x, NULL, registers[0].values,
                        registers[0].channels);
            for (int i = 1; i < 3; i++)
                convolve_at(&n->ops[i], biases[i], &registers[i - 1], 0, 0, NULL,
                            registers[i].values, registers[i].channels);
            decode_position(d, r, s, t->y + y, t->x + x, registers[2].values);
            set_context(d, t, &context, y, x, s->first_channel, s->end_channel);
        }
}

/* ---- tiles and segments ---- */

/* How a picture is cut, in latent positions. */
typedef struct tiling {
    int64_t high, wide;   /* of a tile; wide: version 1 alone */
    int64_t down, across; /* tiles */
} tiling;

static tiling tiling_of(const decoder *d) {
    tiling t;
    int s = d->model->stride;
    t.high = (d->file->version == 1 ? 1024 : 512) / s;
    t.wide = 1024 / s;
    t.down = (d->rows + t.high - 1) / t.high;
    t.across =
        d->file->version == 1 ? (d->columns + t.wide - 1) / t.wide : (d->columns * s + 383) / 384;
    return t;
}

/* Where column i of tiles starts; i is `across` behind the last one. */
static int64_t tile_start(const decoder *d, const tiling *t, int64_t i) {
    if (d->file->version == 2)
        return i * d->columns / t->across;
    return i < t->across ? i * t->wide : d->columns;
}

/* Tile `index` in raster order. */
static tile tile_at(const decoder *d, const tiling *t, int64_t index) {
    tile made;
    made.y = index / t->across * t->high;
    made.x = tile_start(d, t, index % t->across);
    made.rows = d->rows - made.y < t->high ? d->rows - made.y : t->high;
    made.columns = tile_start(d, t, index % t->across + 1) - made.x;
    return made;
}

/* Stages first..end - 1 of a tile. */
static void read_segment(decoder *d, bytes in, const tile *t, int first, int end) {
    const stage *stages = d->model->stages;
    if (d->file->rans) {
        rans r = start_rans(in);
        for (int i = first; i < end; i++)
            decode_stage(d, &r, t, &stages[i]);
        finish_rans(&r);
    } else {
        read_streams(d, &in, t, stages[first].first, stages[end - 1].end);
        REQUIRE(bytes_left(&in) == 0, "a segment with bytes left over");
    }
}

static void read_segments(decoder *d, bytes in) {
    tiling cut = tiling_of(d);
    int stages = d->model->stage_count, scans = d->file->scans ? stages : 1;
    int64_t tiles = cut.down * cut.across, count = tiles * scans;
    uint64_t *sizes = allocate((uint64_t)count, sizeof(*sizes));
    for (int64_t i = 0; i + 1 < count; i++)
        sizes[i] = read_varint_in(&in, 0, bytes_left(&in), "the size of a segment");
    for (int64_t i = 0; i < count; i++) {
        bytes segment = take(&in, i + 1 < count ? sizes[i] : bytes_left(&in));
        tile t = tile_at(d, &cut, i % tiles);
        int scan = (int)(i / tiles);
        read_segment(d, segment, &t, d->file->scans ? scan : 0, d->file->scans ? scan + 1 : stages);
    }
}

static void read_tiles(decoder *d, bytes in) {
    tiling cut = tiling_of(d);
    for (int64_t i = 0; i < cut.down * cut.across; i++) {
        tile t = tile_at(d, &cut, i);
        read_streams(d, &in, &t, 0, d->model->plane_count);
    }
    REQUIRE(bytes_left(&in) == 0, "bytes between the last stream and the checksum");
}

/* ---- pixels ---- */

/* Runs the synthesis on the latents of the whole picture. */
static tensor synthesise(const decoder *d) {
    const net *n = &d->model->synthesis;
    tensor registers[65];
    registers[0] = make_tensor(d->rows, d->columns, d->model->latent_channels);
    for (int64_t i = 0; i < d->rows * d->columns * d->model->latent_channels; i++)
        registers[0].values[i] = (int16_t)clamp_bits(d->latents[i], d->model->latent_bits);
    for (int i = 0; i < n->count; i++) {
        const op *o = &n->ops[i];
        shape made = n->registers[i + 1];
        const int32_t *bias = o->kind == CONV ? biases_of(o, &d->level, made.channels) : NULL;
        registers[i + 1] =
            make_tensor(d->rows << -made.scale, d->columns << -made.scale, made.channels);
        run_op(o, bias, &registers[o->src],
               o->kind == CONV && o->add >= 0 ? &registers[o->add] : NULL, &registers[i + 1]);
    }
    return registers[n->count];
}

static int pixel_of(const model *m, int v) {
    return (int)clamp(128 + shift_right(v + half_of(m->pixel_shift), m->pixel_shift), 0, 255);
}

static uint8_t *read_alpha(const file *f) {
    bytes chunk = f->alpha_chunk, raw;
    uint64_t size = (uint64_t)(f->width * f->height);
    uint8_t *alpha = allocate(size, 1);
    REQUIRE(read_varint(&chunk) == size, "the alpha chunk is not width * height");
    raw = unpack_metadata(chunk, size);
    memcpy(alpha, raw.at, (size_t)size);
    undo_filter(alpha, f->height, f->width, 256);
    return alpha;
}

/* Fills pixels (height, width, channels of the picture) from the output of the synthesis. */
static void make_pixels(const file *f, const model *m, const tensor *output, const uint8_t *alpha,
                        uint8_t *pixels) {
    for (int64_t y = 0; y < f->height; y++)
        for (int64_t x = 0; x < f->width; x++) {
            int value[4];
            for (int c = 0; c < m->channels; c++)
                value[c] = pixel_of(m, at(output, y, x)[c]);
            if (f->gray && m->channels > 1)
                value[0] = (value[0] + value[1] + value[2] + 1) / 3;
            for (int c = 0; c < (f->gray ? 1 : 3); c++)
                *pixels++ = (uint8_t)value[c];
            if (f->alpha)
                *pixels++ = alpha ? alpha[y * f->width + x] : (uint8_t)value[3];
        }
}

/* The picture: (height, width, 1 to 4 channels) */
static uint8_t *decode(const file *f, const model *m) {
    decoder d;
    tensor output;
    uint8_t *pixels, *alpha = f->alpha_chunk.at ? read_alpha(f) : NULL;
    d.model = m;
    d.file = f;
    d.level = level_of(m, f->quality);
    d.rows = (int64_t)divide_up((uint64_t)f->height, (uint64_t)m->stride);
    d.columns = (int64_t)divide_up((uint64_t)f->width, (uint64_t)m->stride);
    d.latents = allocate((uint64_t)(d.rows * d.columns * m->latent_channels), sizeof(*d.latents));
    if (f->version == 1)
        read_tiles(&d, f->codes);
    else
        read_segments(&d, f->codes);
    output = synthesise(&d);
    pixels = allocate((uint64_t)(f->width * f->height * 4), 1);
    make_pixels(f, m, &output, alpha, pixels);
    return pixels;
}

/* ---- the program ---- */

static bytes load(const char *name) {
    bytes content;
    long size;
    uint8_t *data;
    FILE *stream = fopen(name, "rb");
    reading = name;
    if (!stream || fseek(stream, 0, SEEK_END) != 0 || (size = ftell(stream)) < 0)
        refuse("failed", "cannot be read");
    rewind(stream);
    data = allocate((uint64_t)size + 1, 1);
    if (fread(data, 1, (size_t)size, stream) != (size_t)size)
        refuse("failed", "cannot be read");
    fclose(stream);
    content.at = data;
    content.end = data + size;
    return content;
}

static void print_hash(bytes data) {
    uint8_t digest[32];
    if (!data.at) {
        fputs(" -", stdout);
        return;
    }
    sha256(data.at, bytes_left(&data), digest);
    putchar(' ');
    for (int i = 0; i < 32; i++)
        printf("%02x", digest[i]);
}

static void write_picture(const char *name, const file *f, bytes pixels) {
    FILE *out = fopen(name, "wb");
    int width = (int)f->width, height = (int)f->height;
    size_t size = (size_t)bytes_left(&pixels);
    reading = name;
    if (!out)
        refuse("failed", "cannot be written");
    if (f->alpha)
        fprintf(out, "P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL 255\nTUPLTYPE %s\nENDHDR\n", width,
                height, f->gray ? 2 : 4, f->gray ? "GRAYSCALE_ALPHA" : "RGB_ALPHA");
    else
        fprintf(out, "P%d\n%d %d\n255\n", f->gray ? 5 : 6, width, height);
    if (fwrite(pixels.at, 1, size, out) != size || fclose(out) != 0)
        refuse("failed", "cannot be written");
}

int main(int argc, char **argv) {
    static model m;
    file f = {0};
    bytes pixels, content, icc = {NULL, NULL}, exif = icc;
    int summary = argc > 1 && strcmp(argv[1], "-s") == 0;
    int channels;
    argv += summary;
    argc -= summary;
    if (argc < 3 || argc > 4) {
        fputs("usage: vqzdec [-s] MODEL.vqm FILE.vqz [OUT.pnm]\n", stderr);
        return 2;
    }
    atexit(release_all);
    make_exp2();
    content = load(argv[1]);
    read_model(&m, content);
    content = load(argv[2]);
    read_file(&f, content);
    check_pair(&f, &m);
    if (f.icc.at)
        icc = read_metadata(f.icc);
    if (f.exif.at)
        exif = read_metadata(f.exif);
    channels = (f.gray ? 1 : 3) + f.alpha;
    pixels.at = decode(&f, &m);
    pixels.end = pixels.at + f.width * f.height * channels;
    if (summary) {
        printf("%dx%dx%d", (int)f.width, (int)f.height, channels);
        print_hash(pixels);
        print_hash(icc);
        print_hash(exif);
        putchar('\n');
    }
    if (argc == 4)
        write_picture(argv[3], &f, pixels);
    return 0;
}
