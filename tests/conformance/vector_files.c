/*
 * vector_files.c - the pictures of the conformance vectors.
 */
#include "tests/conformance/vectors.h"

#include <stdlib.h>

/* ---- good ones, by file_maker.c ---- */

#define PICTURE(w, h, q) .width = w, .height = h, .quality = q
enum { PACKED = 1, ZSTD = 2, DICTIONARY = 3, CONSTANT = 4, PLAIN = 1, MED = 2 };

/* clang-format off */
const good_file good_files[] = {
    {"gray-1x1", "gray", "one pixel", {PICTURE(1, 1, 50)}, 0, 0},
    {"gray-odd", "gray", "odd sides, padding", {PICTURE(33, 7, 50)}, 0, 0},
    {"gray-row", "gray", "one row", {PICTURE(150, 1, 50)}, 0, 0},
    {"gray-column", "gray", "one column; the height takes two bytes", {PICTURE(1, 200, 50)}, 0, 0},
    {"gray-alpha", "gray", "gray with an alpha chunk", {PICTURE(21, 10, 50), .alpha = true}, 0, 0},
    {"rgb-packed", "rgb", "packed streams", {PICTURE(30, 22, 50)}, PACKED, PLAIN},
    {"rgb-packed-med", "rgb", "packed streams of residuals", {PICTURE(30, 22, 50)}, PACKED, MED},
    {"rgb-zstd", "rgb", "zstd streams", {PICTURE(70, 50, 1), .codes = MADE_RUNS}, ZSTD, PLAIN},
    {"rgb-zstd-med", "rgb", "zstd streams of residuals",
     {PICTURE(70, 50, 100), .codes = MADE_SMOOTH}, ZSTD, MED},
    {"rgb-dictionary", "rgb",
     "zstd streams with the dictionaries of the upper level, where there are some",
     {PICTURE(50, 50, 76), .codes = MADE_RUNS}, DICTIONARY, PLAIN},
    {"rgb-dictionary-med", "rgb", "the same of residuals at the lower level",
     {PICTURE(60, 50, 20), .codes = MADE_RUNS}, DICTIONARY, MED},
    {"rgb-constant", "rgb", "constant streams",
     {PICTURE(30, 22, 50), .codes = MADE_HIGHEST}, CONSTANT, PLAIN},
    {"rgb-constant-med", "rgb", "constant residuals",
     {PICTURE(30, 22, 50), .codes = MADE_LOWEST}, CONSTANT, MED},
    {"rgb-quality25", "rgb", "level 0 is the nearest by one part in 99",
     {PICTURE(20, 20, 25)}, 0, 0},
    {"rgb-quality26", "rgb", "level 1 is the nearest by one part in 99",
     {PICTURE(20, 20, 26)}, 0, 0},
    {"rgb-gray", "rgb", "gray under a colour model", {PICTURE(25, 18, 60), .gray = true}, 0, 0},
    {"rgb-gray-alpha", "rgb", "gray with alpha under a colour model",
     {PICTURE(25, 18, 60), .gray = true, .alpha = true}, 0, 0},
    {"rgb-alpha", "rgb", "RGB with an alpha chunk", {PICTURE(25, 18, 60), .alpha = true}, 0, 0},
    {"rgb-chunks", "rgb", "alpha, ICC, EXIF, and chunks to be skipped",
     {PICTURE(12, 9, 60), .alpha = true, .icc = 700, .exif = 300, .unknown = 2}, 0, 0},
    {"rgb-metadata", "rgb", "metadata of more than one block of zstd",
     {PICTURE(12, 9, 60), .icc = 300000}, 0, 0},
    {"rgb-no-chunks", "rgb", "an empty list of chunks", {PICTURE(12, 9, 60), .chunks = true}, 0, 0},
    {"rgba", "rgba", "RGBA, alpha in the model", {PICTURE(31, 15, 40), .alpha = true}, 0, 0},
    {"rgba-rgb", "rgba", "RGB under a model with alpha", {PICTURE(31, 15, 41)}, 0, 0},
    {"rgba-gray", "rgba", "gray under a model with alpha",
     {PICTURE(31, 15, 42), .gray = true}, 0, 0},
    {"rgba-gray-alpha", "rgba", "gray with alpha under a model with alpha",
     {PICTURE(31, 15, 43), .gray = true, .alpha = true}, 0, 0},
    {"codes300-noise", "codes300", "two streams a plane", {PICTURE(40, 19, 9)}, 0, 0},
    {"codes4096-noise", "codes4096", "two streams a plane, packed",
     {PICTURE(90, 60, 9)}, PACKED, PLAIN},
    {"codes4096-med", "codes4096", "the filter on low and high bytes",
     {PICTURE(90, 60, 9), .codes = MADE_SMOOTH}, 0, MED},
    {"codes4096-dictionary", "codes4096", "a dictionary for the low bytes",
     {PICTURE(150, 120, 9), .codes = MADE_RUNS}, DICTIONARY, PLAIN},
    {"tiles-right", "stride32", "version 1, two tiles side by side", {PICTURE(1030, 9, 70)}, 0, 0},
    {"tiles-below", "stride16", "version 1, two tiles one below the other",
     {PICTURE(9, 1025, 30)}, 0, 0},
    {"levels16-1", "levels16", "the lowest level", {PICTURE(16, 16, 1)}, 0, 0},
    {"levels16-50", "levels16", "between two of 16 levels", {PICTURE(16, 16, 50)}, 0, 0},
    {"levels16-100", "levels16", "the highest level", {PICTURE(16, 16, 100)}, 0, 0},
    {"layers-noise", "layers", "every kind of layer", {PICTURE(37, 29, 30)}, 0, 0},
    {"extremes-noise", "extremes", "sums that saturate",
     {PICTURE(26, 26, 100), .codes = MADE_EXTREMES}, 0, 0},
    {"extremes-lowest", "extremes", "the same between two levels",
     {PICTURE(26, 26, 63), .codes = MADE_LOWEST}, 0, 0},
    {"channels256-noise", "channels256", "many planes", {PICTURE(47, 33, 5)}, 0, 0},
    {"prior-gray-1x1", "prior-gray", "one pixel, rANS", {PICTURE(1, 1, 50), .rans = true}, 0, 0},
    {"prior-gray", "prior-gray", "rANS", {PICTURE(35, 21, 50), .rans = true}, 0, 0},
    {"prior-gray-scans", "prior-gray", "rANS, scans",
     {PICTURE(35, 21, 50), .rans = true, .scans = true}, 0, 0},
    {"prior-gray-zstd", "prior-gray", "streams in one segment", {PICTURE(35, 21, 50)}, 0, 0},
    {"prior-gray-zstd-scans", "prior-gray", "streams in a segment for each stage",
     {PICTURE(35, 21, 50), .scans = true}, 0, 0},
    {"prior-gray-alpha", "prior-gray", "gray with an alpha chunk, EXIF, rANS",
     {PICTURE(19, 5, 100), .alpha = true, .exif = 90, .rans = true}, 0, 0},
    {"prior-rgb-noise", "prior-rgb", "rANS of unlikely codes between two levels",
     {PICTURE(90, 70, 33), .rans = true}, 0, 0},
    {"prior-rgb-extremes", "prior-rgb", "rANS of the lowest and highest codes, scans",
     {PICTURE(90, 70, 88), .codes = MADE_EXTREMES, .rans = true, .scans = true}, 0, 0},
    {"prior-rgb-dictionary", "prior-rgb",
     "streams with dictionaries, numbered through all stages, scans",
     {PICTURE(150, 130, 12), .codes = MADE_RUNS, .scans = true}, DICTIONARY, 0},
    {"prior-rgb-tiles", "prior-rgb", "two tiles of balanced width, rANS",
     {PICTURE(390, 9, 12), .codes = MADE_SMOOTH, .rans = true}, 0, 0},
    {"prior-rgb-tiles-scans", "prior-rgb", "three tiles of unequal width, scans",
     {PICTURE(795, 9, 12), .codes = MADE_SMOOTH, .rans = true, .scans = true}, 0, 0},
    {"prior-rgb-tiles-zstd", "prior-rgb", "two rows of two tiles, streams, scans",
     {PICTURE(385, 513, 12), .codes = MADE_LOWEST, .scans = true}, 0, 0},
    {"prior-rgba", "prior-rgba", "RGBA, rANS",
     {PICTURE(29, 29, 77), .alpha = true, .rans = true}, 0, 0},
    {"prior-4096-noise", "prior-4096", "long excesses", {PICTURE(120, 90, 50), .rans = true}, 0, 0},
    {"prior-4096-extremes", "prior-4096", "the longest excesses",
     {PICTURE(120, 90, 51), .codes = MADE_EXTREMES, .rans = true}, 0, 0},
    {"prior-logits-noise", "prior-logits", "codes by logits",
     {PICTURE(30, 30, 60), .rans = true}, 0, 0},
    {"prior-logits-lowest", "prior-logits", "code 0 alone: a stream of no bytes",
     {PICTURE(30, 30, 60), .codes = MADE_LOWEST, .rans = true}, 0, 0},
    {"prior-stages-scans", "prior-stages", "many segments",
     {PICTURE(100, 70, 50), .rans = true, .scans = true}, 0, 0},
    {0}};
/* clang-format on */

/* ---- rANS by hand ---- */

void encode_symbols(vqzi_buffer *file, const interval *symbols, uint64_t end_state) {
    uint8_t out[64];
    size_t count = 0, used = 0;
    uint64_t x = end_state;
    while (symbols[count].frequency > 0)
        count++;
    while (count-- > 0) {
        uint32_t frequency = symbols[count].frequency;
        for (; x >= (uint64_t)frequency << 47; x >>= 8)
            out[used++] = (uint8_t)x;
        x = x / frequency << 16 | (x % frequency + symbols[count].start);
    }
    for (bool any = x != 1; any && x > 0; x >>= 8)
        out[used++] = (uint8_t)x;
    while (used > 0)
        vqzi_buffer_byte(file, out[--used]);
}

/* Under the model "flat": a symbol of its tables, and a bit of an excess. */
#define SYMBOL(s)                                                                                  \
    { (s) * 4096u, 4096 }
#define BIT(b)                                                                                     \
    { (b) * 32768u, 32768 }
#define LAST                                                                                       \
    { 0, 0 }

static const interval code_5[] = {SYMBOL(4), LAST};
static const interval code_0[] = {SYMBOL(0), BIT(0), BIT(1), BIT(0), LAST}; /* excess 1 */
static const interval code_16[] = {SYMBOL(15), BIT(1), LAST};               /* excess 0 */
static const interval code_below[] = {SYMBOL(0), BIT(0), BIT(1), BIT(1), LAST};
static const interval excess_13[] = {SYMBOL(15), BIT(0), BIT(0), BIT(0), BIT(0), BIT(0),
                                     BIT(0),     BIT(0), BIT(0), BIT(0), BIT(0), BIT(0),
                                     BIT(0),     BIT(0), BIT(1), {0, 8}, LAST};

/* ---- plain ones ---- */

/* The streams of "tiny" for 2 x 2 positions: codes 0 1 2 0 packed, and zeros; for 10 x 10: zstd and
 * zeros. */
#define STREAMS "\x00\x24\x03"
#define ZEROS   "\x03\x03"
/* One block of one byte again and again: 100 times a code. */
#define RLE(length, byte) length "\x03\x00" byte
/* A frame of four bytes as they are, as packed metadata. */
#define FOUR        "\x04\x00\x00\x21\x00\x00wxyz"
#define ALPHA_CHUNK "\x01\x0a" FOUR
#define NONE        NULL, 0
#define NO_SYMBOLS  NULL, 0
#define NO_EDIT     {0, 0, NULL, 0}, false
#define AS_IT_IS    NO_SYMBOLS, NO_EDIT

/* Header of "tiny" and "flat": magic 0, flags 3, hash 4, width 8, height 9, quality 10. */
#define TINY(folder, name, expected, text, at, removed, bytes)                                     \
    {                                                                                              \
        folder, name, "tiny", expected, text, 4, 4, 0, NONE, BYTES(STREAMS), NO_SYMBOLS,           \
            {at, removed, BYTES(bytes)}, false                                                     \
    }
#define BAD_TINY(name, text, at, removed, bytes)                                                   \
    TINY("bad", name, "corrupt", text, at, removed, bytes)
#define BAD_BODY(name, text, side, body)                                                           \
    { "bad", name, "tiny", "corrupt", text, side, side, 0, NONE, BYTES(body), AS_IT_IS }
#define CHUNKS(folder, name, expected, text, flags, chunks)                                        \
    { folder, name, "tiny", expected, text, 2, 2, flags, BYTES(chunks), BYTES(ZEROS), AS_IT_IS }
#define BAD_CHUNKS(name, text, flags, chunks) CHUNKS("bad", name, "corrupt", text, flags, chunks)
#define RANS(folder, name, expected, text, symbols, end_state)                                     \
    {                                                                                              \
        folder, name, "flat", expected, text, 2, 2, PLAIN_RANS, NONE, NONE, symbols, end_state,    \
            NO_EDIT                                                                                \
    }
#define FLAT(folder, name, expected, text, width, flags, body)                                     \
    { folder, name, "flat", expected, text, width, 2, flags, NONE, BYTES(body), AS_IT_IS }

/* clang-format off */
const plain_file plain_files[] = {
    {"good", "tiny", "tiny", NULL, "written by hand: packed and constant", 4, 4, 0, NONE,
     BYTES(STREAMS), AS_IT_IS},
    CHUNKS("good", "tiny-alpha", NULL, "alpha as it is, in a block of four bytes", PLAIN_ALPHA,
           ALPHA_CHUNK "\x00"),
    CHUNKS("good", "tiny-window", NULL, "packed metadata with the largest window, 2^23",
     PLAIN_ALPHA,
           "\x01\x0a\x04\x00\x68\x21\x00\x00wxyz\x00"),
    CHUNKS("good", "tiny-icc-empty", NULL, "an ICC profile of no bytes", 0,
           "\x81\x06\x00\x00\x00\x01\x00\x00\x00"),
    {"good", "tiny-rle", "tiny", NULL, "zstd by hand: one byte again and again", 20, 20, 0, NONE,
     BYTES("\x21" RLE("\x23", "\x01") "\x03"), AS_IT_IS},
    RANS("good", "flat", NULL, "rANS by hand", code_5, 1),
    RANS("good", "flat-excess", NULL, "rANS by hand: an excess", code_0, 1),
    {"good", "logits-empty", "prior-logits", NULL, "rANS by hand: no bytes", 2, 2, PLAIN_RANS, NONE,
     NONE, AS_IT_IS},
    FLAT("good", "flat-tiles", NULL, "two tiles by hand, streams", 400, 0, "\x01\x2b\x2b"),

    TINY("bad", "magic", "format", "another magic", 0, 1, "v"),
    BAD_TINY("version0", "version 0", 3, 1, "\x10"),
    TINY("unsupported", "version3", "version", "version 3", 3, 1, "\x13"),
    TINY("unsupported", "version15", "version", "version 15", 3, 1, "\x1f"),
    TINY("unsupported", "flag7", "unsupported", "version 1 with scans", 3, 1, "\x91"),
    {"bad", "checksum", "tiny", "corrupt", "a checksum that does not match", 4, 4, 0, NONE,
     BYTES(STREAMS), NO_SYMBOLS, {10, 1, BYTES("\x33")}, true},
    TINY("bad", "cut-header", "truncated", "ends in the header", 8, 6, ""),
    TINY("bad", "cut-magic", "truncated", "ends behind the version", 4, 10, ""),
    {"bad", "cut-short", "tiny", "truncated", "six bytes", 4, 4, 0, NONE, BYTES(STREAMS),
     NO_SYMBOLS,
     {4, 12, BYTES("")}, true},
    TINY("bad", "cut-streams", "truncated", "the last stream is missing", -5, 1, ""),
    TINY("bad", "cut-packed", "truncated", "a packed stream ends too early", -6, 2, ""),
    BAD_TINY("behind", "a byte behind the last stream", -4, 0, "\x00"),
    BAD_TINY("width-long", "a varint longer than needed", 8, 1, "\x83\x00"),
    BAD_TINY("width-65536", "a width of 65536", 8, 1, "\xff\xff\x03"),
    BAD_TINY("height-65536", "a height of 65536", 9, 1, "\xff\xff\x03"),
    BAD_TINY("quality0", "quality 0", 10, 1, "\x00"),
    BAD_TINY("quality101", "quality 101", 10, 1, "\x65"),
    BAD_TINY("quality-rans", "version 1 with rANS", 10, 1, "\xb2"),
    TINY("bad", "color", "corrupt", "a colour picture under a gray model", 3, 1, "\x01"),
    TINY("bad", "hash", "model-mismatch", "made with another model", 4, 1, "\x00"),
    TINY("bad", "version2", "corrupt", "version 2 under a model without prior", 3, 1, "\x12"),
    {"bad", "version1", "flat", "corrupt", "version 1 under a model with a prior", 2, 2, 0, NONE,
     BYTES("\x2b"), NO_SYMBOLS, {3, 1, BYTES("\x11")}, false},

    CHUNKS("unsupported", "chunk", "unsupported", "a chunk that may not be skipped", 0,
           "\x02\x01z\x00"),
    BAD_CHUNKS("chunk-twice", "two ICC profiles", 0, "\x81\x0a" FOUR "\x81\x0a" FOUR "\x00"),
    CHUNKS("bad", "chunk-end", "truncated", "a list of chunks without end", 0, "\xff\x02"),
    CHUNKS("bad", "chunk-size", "corrupt", "a chunk larger than the file", 0, "\xff\xff\x01z\x00"),
    BAD_CHUNKS("chunk-varint", "the size of a chunk is 2^64", 0,
               "\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"),
    CHUNKS("bad", "alpha-missing", "corrupt", "alpha without a chunk", PLAIN_ALPHA, "\x00"),
    BAD_CHUNKS("alpha-flag", "an alpha chunk without alpha", 0, ALPHA_CHUNK "\x00"),
    {"bad", "alpha-rgba", "rgba", "corrupt", "an alpha chunk under a model with alpha", 2, 2,
     PLAIN_ALPHA, BYTES(ALPHA_CHUNK "\x00"), BYTES("\x03\x03\x03"), AS_IT_IS},
    BAD_CHUNKS("alpha-size", "alpha of five pixels for four", PLAIN_ALPHA,
               "\x01\x0b\x05\x00\x00\x29\x00\x00vwxyz\x00"),
    BAD_CHUNKS("alpha-short", "a frame of three bytes for four", PLAIN_ALPHA,
               "\x01\x09\x04\x00\x00\x19\x00\x00xyz\x00"),
    BAD_CHUNKS("alpha-long", "a frame of five bytes for four", PLAIN_ALPHA,
               "\x01\x0b\x04\x00\x00\x29\x00\x00vwxyz\x00"),
    BAD_CHUNKS("alpha-behind", "a byte behind the frame", PLAIN_ALPHA, "\x01\x0b" FOUR "\x00\x00"),
    BAD_CHUNKS("alpha-header", "a frame with a content size", PLAIN_ALPHA,
               "\x01\x0a\x04\x20\x04\x21\x00\x00wxyz\x00"),
    BAD_CHUNKS("alpha-window", "a window above 2^23", PLAIN_ALPHA,
               "\x01\x0a\x04\x00\x69\x21\x00\x00wxyz\x00"),
    BAD_CHUNKS("alpha-block", "a block of the reserved type", PLAIN_ALPHA,
               "\x01\x0a\x04\x00\x00\x27\x00\x00wxyz\x00"),
    BAD_CHUNKS("icc", "an ICC profile with a block of the reserved type", 0,
               "\x81\x0a\x04\x00\x00\x27\x00\x00wxyz\x00"),

    BAD_CHUNKS("icc-block", "a block of 1025 bytes under a window of 1024", 0,
               "\x81\x08\x81\x08\x00\x00\x0b\x20\x00z\x00"),

    BAD_BODY("packed-argument", "a packed stream with an argument", 4, "\x08\x24\x03"),
    BAD_BODY("packed-padding", "padding bits that are set", 2, "\x00\x04\x03"),
    BAD_BODY("symbol", "a packed symbol of 3 where there are 3", 4, "\x00\x27\x03"),
    BAD_BODY("constant", "a constant of 3 where there are 3", 4, "\x1b\x03"),
    BAD_BODY("dictionary", "a dictionary that the model does not have", 20,
             "\x22" RLE("\x23", "\x01") "\x03"),
    BAD_BODY("zstd-long", "a zstd stream longer than the packed one", 20,
             "\xd1\x01\xa2\x00\x00\x01\xa2\x00\x00\x01\xa2\x00\x00\x01\xa2\x00\x00\x01"
             "\x8a\x00\x00\x01\x19\x00\x00\x00\x01\x02\x03"),
    BAD_BODY("zstd-reserved", "a block of the reserved type", 20, "\x21" RLE("\x27",
     "\x01") "\x03"),
    BAD_BODY("zstd-behind", "a byte behind the last block", 20,
             "\x29" RLE("\x23", "\x01") "\x00\x03"),
    BAD_BODY("zstd-short", "99 symbols for 100", 20, "\x21" RLE("\x1b", "\x01") "\x03"),
    BAD_BODY("zstd-more", "101 symbols for 100", 20, "\x21" RLE("\x2b", "\x01") "\x03"),
    BAD_BODY("zstd-symbol", "a zstd symbol of 3 where there are 3", 20,
             "\x21" RLE("\x23", "\x03") "\x03"),
    BAD_BODY("zstd-garbage", "a compressed block of nothing", 20,
             "\x39\x25\x00\x00\xff\xff\xff\xff\x03"),
    {"bad", "code", "codes300", "corrupt", "low byte 200, high byte 1 where there are 300 codes",
     2, 2, 0,
     NONE, BYTES("\x00\xc8\x00\x01"), AS_IT_IS},
    {"bad", "high-byte", "codes300", "corrupt", "a high byte of 2 where there are 300 codes", 2, 2,
     0,
     NONE, BYTES("\x00\xc8\x13"), AS_IT_IS},

    RANS("bad", "rans-above", "corrupt", "a code of K", code_16, 1),
    RANS("bad", "rans-below", "corrupt", "a code of -1", code_below, 1),
    RANS("bad", "rans-excess", "corrupt", "an excess of 13 bits", excess_13, 1),
    RANS("bad", "rans-end", "corrupt", "rANS that ends with the state 2", code_5, 2),
    FLAT("bad", "rans-empty", "corrupt", "a stream of no bytes: zeros without end", 2, PLAIN_RANS,
     ""),
    {"bad", "rans-one", "prior-logits", "corrupt", "the one byte 1 in place of no byte", 2, 2,
     PLAIN_RANS, NONE, BYTES("\1"), AS_IT_IS},
    {"bad", "rans-zero", "flat", "corrupt", "a zero in front of a stream", 2, 2, PLAIN_RANS, NONE,
     NONE,
     code_5, 1, {11, 0, BYTES("\0")}, false},
    {"bad", "rans-behind", "flat", "corrupt", "a byte behind the last symbol", 2, 2, PLAIN_RANS,
     NONE,
     NONE, code_5, 1, {-4, 0, BYTES("\0")}, false},
    FLAT("bad", "segment-size", "truncated", "a segment larger than the file", 400, 0,
         "\x05\x2b\x2b"),
    FLAT("bad", "segment-size-long", "corrupt", "the size of a segment is longer than needed", 400,
     0,
         "\x81\x00\x2b\x2b"),
    FLAT("bad", "segment-behind", "corrupt", "a byte behind the streams of a segment", 400, 0,
         "\x02\x2b\x2b\x2b"),
    FLAT("bad", "segment-last", "corrupt", "a byte behind the streams of the last segment", 400, 0,
         "\x01\x2b\x2b\x2b"),
    FLAT("bad", "segment-missing", "truncated", "no last segment", 400, 0, "\x01\x2b"),
    {0}};
/* clang-format on */
