/*
 * commands.c - the tables: which commands there are and what options each has.
 */
#include "cli/commands.h"
#include <stddef.h>

#define AT(field) offsetof(settings, field)

#define HELP_ROW { 'h', "help", NULL, OPTION_FLAG, AT(help), 0, 0, "show this text" }
#define VERBOSE_ROW                                                                                \
    { 'v', "verbose", NULL, OPTION_FLAG, AT(verbose), 0, 0, "say more on standard error" }
#define THREADS_ROW                                                                                \
    { 'T', "threads", "N", OPTION_INT, AT(threads), 0, 256,                                        \
      "threads to use; 0, the default, is one per processor" }
#define FORCE_ROW                                                                                  \
    { 'f', "force", NULL, OPTION_FLAG, AT(force), 0, 0,                                            \
      "overwrite existing files; write binary data to a terminal" }
#define MODEL_ROW                                                                                  \
    { 'm', "model", "MODEL", OPTION_TEXT, AT(model), 0, 0,                                         \
      "a .vqm file, the name of one in the search path, or\n"                                      \
      "'default' for the built-in model" }
#define REMOVE_ROW                                                                                 \
    { 0, "rm", NULL, OPTION_FLAG, AT(remove_sources), 0, 0,                                        \
      "delete each source once what was made of it is on the disk\n"                               \
      "and was found whole" }
#define LIMIT_ROWS                                                                                 \
    { 0, "max-pixels", "N", OPTION_COUNT, AT(max_pixels), 0, 0,                                    \
      "refuse larger pictures; default 268435456" },                                               \
    { 0, "max-memory", "N", OPTION_BYTES, AT(max_memory), 0, 0,                                    \
      "refuse to use more work memory; default 1G" },                                              \
    { 0, "max-macs", "N", OPTION_COUNT, AT(max_macs), 0, 0,                                        \
      "refuse models with more multiply-adds a pixel; default\n"                                   \
      "250k" }
#define RECURSIVE_ROW(what)                                                                        \
    { 'r', "recursive", NULL, OPTION_FLAG, AT(recursive), 0, 0, what }
#define ENCODE_ROWS                                                                                \
    { 0, "effort", "N", OPTION_INT, AT(effort), 1, 9,                                              \
      "1 (fast) to 9 (smaller files); from 7 on the encoder decodes\n"                             \
      "and corrects; default 6; no effect with a model that has no\n"                              \
      "prior" },                                                                                   \
    { 0, "entropy", "auto|rans|zstd", OPTION_CHOICE, AT(entropy), 0, 0,                            \
      "coder of the index planes: rANS with the model's prior,\n"                                  \
      "zstd (larger, decodes faster), or auto: that of a prior, from\n"                            \
      "effort 7 on whichever is smaller" },                                                        \
    { 0, "progressive", NULL, OPTION_FLAG, AT(progressive), 0, 0,                                  \
      "coarse planes of the whole picture first: a part of the\n"                                  \
      "file shows all of it; needs a model with a prior" }
#define QUIET_ROW(letter)                                                                          \
    { letter, "quiet", NULL, OPTION_FLAG, AT(quiet), 0, 0, "say nothing but errors" }
#define END_ROW { 0, NULL, NULL, OPTION_FLAG, 0, 0, 0, NULL }

static const option compress_options[] = {
    { 'o', "output", "FILE|DIR", OPTION_TEXT, AT(output), 0, 0,
      "where to write: a file, - for standard output, or a folder\n"
      "(for several pictures; folders given with -r are mirrored)" },
    MODEL_ROW,
    { 'q', "quality", "Q", OPTION_INT, AT(quality), 1, 100,
      "1 (smallest file) to 100 (best picture); default 50" },
    { 0, "target-size", "BYTES", OPTION_BYTES, AT(target_size), 1, 0,
      "find the quality for a file of so many bytes; 20k, 1.5M" },
    { 0, "target-bpp", "X", OPTION_REAL, AT(target_bpp), 0.0001, 1000,
      "the same for so many bits per pixel" },
    { 0, "target-psnr", "DB", OPTION_REAL, AT(target_psnr), 1, 100,
      "find the quality for this PSNR of the gray or RGB samples" },
    ENCODE_ROWS,
    { 0, "strip", NULL, OPTION_FLAG, AT(strip), 0, 0, "drop the ICC profile and the EXIF data" },
    REMOVE_ROW,
    RECURSIVE_ROW("compress the PNG, JPEG and PNM files in folders"),
    FORCE_ROW,
    THREADS_ROW,
    LIMIT_ROWS,
    QUIET_ROW(0),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

static const option decompress_options[] = {
    { 'o', "output", "FILE|DIR", OPTION_TEXT, AT(output), 0, 0,
      "where to write: a file, - for standard output, or a folder\n"
      "(for several files; folders given with -r are mirrored)" },
    { 0, "format", "png|pnm|pgm|ppm|pam", OPTION_CHOICE, AT(format), 0, 0,
      "kind of picture; default: by the extension of -o, else png" },
    { 0, "crop", "WxH+X+Y", OPTION_REGION, AT(crop), 0, 0,
      "this part of the picture alone, X and Y from its top left;\n"
      "only what it depends on is decoded" },
    { 0, "partial", NULL, OPTION_FLAG, AT(partial), 0, 0,
      "of a file that was cut short or damaged, as its checksum\n"
      "says, show what is there" },
    MODEL_ROW,
    REMOVE_ROW,
    RECURSIVE_ROW("decompress the .vqz files in folders"),
    FORCE_ROW,
    THREADS_ROW,
    LIMIT_ROWS,
    QUIET_ROW('q'),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

static const option test_options[] = {
    MODEL_ROW,
    RECURSIVE_ROW("test the .vqz and .vqm files in folders"),
    THREADS_ROW,
    LIMIT_ROWS,
    QUIET_ROW('q'),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

static const option info_options[] = {
    { 0, "json", NULL, OPTION_FLAG, AT(json), 0, 0, "one JSON object a file, each on one line" },
    LIMIT_ROWS,
    QUIET_ROW('q'),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

static const option tokens_options[] = {
    { 'o', "output", "FILE|DIR", OPTION_TEXT, AT(output), 0, 0,
      "where to write: a .npy file, - for standard output, or a\n"
      "folder (for several files; folders given with -r are\n"
      "mirrored)" },
    MODEL_ROW,
    RECURSIVE_ROW("take the .vqz files in folders"),
    FORCE_ROW,
    THREADS_ROW,
    LIMIT_ROWS,
    QUIET_ROW('q'),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

static const option sample_options[] = {
    { 'o', "output", "FILE", OPTION_TEXT, AT(output), 0, 0,
      "the sheet to write: .png, .pnm, .ppm, .pgm, .pam, or - for\n"
      "PNG on standard output" },
    MODEL_ROW,
    { 'n', "count", "N", OPTION_INT, AT(count), 1, 10000, "pictures on the sheet; default 16" },
    { 0, "size", "WxH", OPTION_SIZE, AT(size), 0, 0, "pixels of each; default 128x128" },
    { 'q', "quality", "Q", OPTION_INT, AT(quality), 1, 100,
      "quality to draw at, 1 to 100; default 50" },
    { 0, "seed", "N", OPTION_COUNT, AT(seed), 0, 0,
      "which pictures; default 0.  The same seed gives the same\n"
      "ones everywhere" },
    { 0, "temperature", "T", OPTION_REAL, AT(temperature), 0.0625, 4,
      "below 1 more ordinary, above 1 more daring; default 1" },
    FORCE_ROW,
    THREADS_ROW,
    LIMIT_ROWS,
    QUIET_ROW(0),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

static const option eval_options[] = {
    MODEL_ROW,
    { 'q', "quality", "Q,...", OPTION_QUALITIES, AT(qualities), 0, 0,
      "qualities to measure at; default 50" },
    ENCODE_ROWS,
    { 0, "csv", "FILE", OPTION_TEXT, AT(csv), 0, 0, "also write the figures as CSV; - is allowed" },
    FORCE_ROW,
    THREADS_ROW,
    LIMIT_ROWS,
    QUIET_ROW(0),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

#define TRAIN_REAL(name, value, field, min, max, help)                                             \
    { 0, name, value, OPTION_REAL, AT(train.field), min, max, help }
#define TRAIN_INT(name, value, field, min, max, help)                                              \
    { 0, name, value, OPTION_INT, AT(train.field), min, max, help }
#define TRAIN_FLAG(name, field, help)                                                              \
    { 0, name, NULL, OPTION_FLAG, AT(train.field), 0, 0, help }

static const option train_option_table[] = {
    { 'o', "output", "MODEL.vqm", OPTION_TEXT, AT(output), 0, 0,
      "the model to write; a log (.csv) and a checkpoint (.ckpt)\n"
      "are kept beside it" },
    { 0, "preset", "photo|fast|best|graphics|tiny|classic", OPTION_CHOICE, AT(train.preset), 0, 0,
      "classic: the VQ-VAE of the literature, one codebook;\n"
      "photo: product planes at several qualities" },
    { 0, "time", "TIME", OPTION_DURATION, AT(train.seconds), 0, 1e8,
      "how long to train: 45s, 20m, 2h" },
    { 0, "steps", "N", OPTION_COUNT, AT(train.steps), 0, 0, "train for so many steps instead" },
    TRAIN_INT("batch", "N", batch, 1, 4096, "crops a step"),
    TRAIN_INT("crop", "N", crop, 16, 4096, "side of a crop in pixels"),
    TRAIN_REAL("lr", "RATE", learning_rate, 1e-8, 1, "peak learning rate"),
    { 0, "seed", "N", OPTION_COUNT, AT(train.seed), 0, 0, "seed of everything random" },
    TRAIN_REAL("holdout", "FRACTION", holdout, 0, 0.9,
               "part of the pictures kept for measuring; default 0.05"),
    TRAIN_FLAG("resume", resume, "continue from the checkpoint beside the model"),
    { 0, "init", "MODEL", OPTION_TEXT, AT(train.init), 0, 0,
      "start from this model's weights (fine-tuning)" },
    TRAIN_REAL("beta", "X", beta, 0, 1000, "weight of the commitment loss; default: the preset's"),
    TRAIN_REAL("warm", "X", warm, 0, 1,
               "part of the run with noise in place of codes; default: as\n"
               "suits the preset, none for a model that is fine-tuned"),
    TRAIN_REAL("lambda", "X", lambda, 0, 1e6,
               "scales the weight of the rate; larger: smaller files"),
    { 0, "loss", "mse|msssim|mix", OPTION_CHOICE, AT(train.loss), 0, 0,
      "what the decoder learns: least squares, MS-SSIM, or\n"
      "half of each" },
    { 0, "codebook", "ema|loss", OPTION_CHOICE, AT(train.codebook), 0, 0,
      "how codebooks learn: moving averages or their own loss" },
    TRAIN_INT("codes", "K", codes, 2, 4096, "codebook entries (classic); default 512"),
    TRAIN_INT("latent-channels", "D", latent_channels, 1, 256,
              "size of an entry (classic); default 64"),
    TRAIN_INT("channels", "N", channels, 1, 4,
              "1 gray, 3 RGB, 4 RGB and alpha; default: 1 when every\n"
              "picture is gray, else 3"),
    { 0, "background", "RRGGBB", OPTION_COLOUR, AT(train.background), 0, 0,
      "colour under transparent pixels" },
    { 0, "precision", "auto|float32|bfloat16", OPTION_CHOICE, AT(train.precision), 0, 0,
      "arithmetic of the convolutions" },
    TRAIN_REAL("min-scale", "X", min_scale, 0.05, 1,
               "pictures are shrunk at random down to this factor"),
    TRAIN_FLAG("no-flip", no_flip, "no mirrored crops (writing, maps)"),
    { 0, "name", "TEXT", OPTION_TEXT, AT(train.name), 0, 0, "name of the corpus for the card" },
    { 0, "license", "TEXT", OPTION_TEXT, AT(train.license), 0, 0, "licence note for the card" },
    { 0, "memory", "N", OPTION_BYTES, AT(train.memory_budget), 0, 0,
      "bytes of decoded pictures to hold; default 4G" },
    { 0, "checkpoint", "TIME", OPTION_DURATION, AT(train.checkpoint_seconds), 0, 1e8,
      "time between checkpoints; default 2m" },
    { 0, "log", "TIME", OPTION_DURATION, AT(train.log_seconds), 0, 1e8,
      "time between lines of the log; default 10s, 1s on a\n"
      "terminal" },
    FORCE_ROW,
    THREADS_ROW,
    QUIET_ROW('q'),
    VERBOSE_ROW,
    HELP_ROW,
    END_ROW,
};

const command commands[] = {
    { "compress", "PICTURE...", "no picture given; name some, or - for standard input",
      "compress PNG, JPEG and PNM pictures to .vqz",
      "a.png becomes a.vqz beside it; sources are kept without --rm.  - is standard input or output.\n",
      compress_options, run_compress },
    { "decompress", "FILE.vqz...", "no file given; name some, or - for standard input",
      "turn .vqz files back into pictures",
      "a.vqz becomes a.png beside it; sources are kept without --rm.  - is standard input or output.\n"
      "The model is found by its hash: -m, the built-in one, then every .vqm in the search\n"
      "path (VQZ_MODEL_PATH, then vqz/models in the XDG data folders) and beside the file.\n",
      decompress_options, run_decompress },
    { "test", "FILE...", "no file given; name some, or - for standard input",
      "verify .vqz files by decoding them, and .vqm models",
      "One line a file: good, or what is wrong with it; nothing is written.  The exit code is 1\n"
      "when any is bad.  Models are found as for decompress.\n",
      test_options, run_verify },
    { "info", "FILE...", "no file given; name a .vqz or a .vqm, or - for standard input",
      "show what a .vqz file or a .vqm model holds", "", info_options, run_info },
    { "eval", "PICTURE|FOLDER...", "no picture given; name pictures or folders of them",
      "measure a model: size, PSNR, MS-SSIM and time on pictures",
      "Every picture is encoded and decoded in memory, without ICC and EXIF.  PSNR and MS-SSIM\n"
      "are those of the gray or RGB samples, on white where there is alpha.\n",
      eval_options, run_eval },
    { "tokens", "FILE.vqz...", "no file given; name some, or - for standard input",
      "write the code indices of .vqz files as NumPy arrays",
      "a.vqz becomes a.npy beside it: uint16, (planes, rows, columns).  - is standard input or\n"
      "output.  The model is found as for decompress.\n",
      tokens_options, run_tokens },
    { "sample", "-m MODEL -o SHEET.png", NULL, "draw pictures from a model's prior",
      "Pictures that the model finds likely, side by side on a sheet; nothing is read but the model.\n",
      sample_options, run_sample },
    { "train", "CORPUS... -o MODEL.vqm", "no corpus given; name folders of pictures",
      "train a model on your own pictures",
      "Folders are read recursively (PNG, JPEG, PNM).\n"
      "Options left out take the value that suits the preset.\n",
      train_option_table, run_train },
    { NULL, NULL, NULL, NULL, NULL, NULL, NULL },
};
