/*
 * rd_plot.c - the curves of bench_rd as SVG: PSNR over bits per pixel on a logarithmic axis.
 *
 * Drawn are the interpolated curves that BD-rate is computed from, and a dot for every mean that
 * was measured.  The RANGE of bpp is what is shown, when there is one; at most 50 dB otherwise.
 */
#include "tests/bench/bench_rd.h"

#include <math.h>

enum { WIDTH = 860, HEIGHT = 560, LEFT = 64, RIGHT = 20, TOP = 44, BOTTOM = 56, STEPS = 120 };
static const double MOST_PSNR = 50;

typedef struct axes {
    double least_bpp, most_bpp, least_psnr, most_psnr;
} axes;

/* After Okabe and Ito: told apart by colour-blind readers too. */
static const char *colour_of(const rd_bench *b, const rd_codec *c) {
    static const char *const peers[] = {"#e69f00", "#56b4e9", "#009e73", "#cc79a7",
                                        "#0072b2", "#8a8a8a", "#8a8a8a", "#8a8a8a"};
    return c->peer == NULL ? "#d00000" : peers[c - b->codecs - (b->model != NULL)];
}

static double x_of(const axes *a, double bpp) {
    return LEFT +
           (WIDTH - LEFT - RIGHT) * log(bpp / a->least_bpp) / log(a->most_bpp / a->least_bpp);
}

static double y_of(const axes *a, double psnr) {
    return TOP + (HEIGHT - TOP - BOTTOM) * (a->most_psnr - psnr) / (a->most_psnr - a->least_psnr);
}

static void write_text(FILE *file, const char *text) {
    for (; *text != '\0'; text++)
        if (*text == '<' || *text == '&')
            fputs(*text == '<' ? "&lt;" : "&amp;", file);
        else
            fputc(*text, file);
}

static axes find_axes(const rd_bench *b) {
    axes a = {INFINITY, 0, INFINITY, 0};
    for (const rd_codec *c = b->codecs; c < b->codecs + b->codec_count; c++)
        for (int i = 0; i < c->count; i++) {
            double bpp = rd_bpp(b, c->mean[i].bytes), psnr = c->mean[i].psnr;
            if (bpp < b->least_bpp || bpp > b->most_bpp || psnr > MOST_PSNR)
                continue;
            a = (axes){fmin(a.least_bpp, bpp), fmax(a.most_bpp, bpp), fmin(a.least_psnr, psnr),
                       fmax(a.most_psnr, psnr)};
        }
    if (a.most_bpp == 0)
        a = (axes){0.1, 1, 20, 40};
    a.least_bpp = b->least_bpp > 0 ? b->least_bpp : a.least_bpp / 1.1;
    a.most_bpp = isfinite(b->most_bpp) ? b->most_bpp : a.most_bpp * 1.1;
    a.least_psnr = 2 * floor(a.least_psnr / 2 - 0.1);
    a.most_psnr = 2 * ceil(a.most_psnr / 2 + 0.1);
    return a;
}

static void draw_grid(FILE *file, const axes *a) {
    double bottom = HEIGHT - BOTTOM, right = WIDTH - RIGHT;
    int step = a->most_psnr - a->least_psnr > 20 ? 5 : 2;
    fprintf(file, "<g stroke=\"#dddddd\">\n");
    for (int pass = 0; pass < 2; pass++) { /* lines, then their numbers */
        for (int psnr = 0; psnr <= a->most_psnr; psnr += step) {
            double y = y_of(a, psnr);
            if (psnr >= a->least_psnr && pass == 0)
                fprintf(file, "<path d=\"M%d %.1fH%.0f\"/>\n", LEFT, y, right);
            else if (psnr >= a->least_psnr)
                fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n", LEFT - 8,
                        y + 4, psnr);
        }
        for (int power = -5; power <= 3; power++)
            for (int digit = 1; digit < 10; digit++) {
                double bpp = digit * pow(10, power), x;
                if (bpp < a->least_bpp || bpp > a->most_bpp)
                    continue;
                x = x_of(a, bpp);
                if (pass == 0)
                    fprintf(file, "<path d=\"M%.1f %dV%.0f\"%s/>\n", x, TOP, bottom,
                            digit == 1 ? " stroke=\"#aaaaaa\"" : "");
                else if (digit == 1 || digit == 2 || digit == 5)
                    fprintf(file, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%g</text>\n",
                            x, bottom + 18, bpp);
            }
        fprintf(file, pass == 0 ? "</g>\n<g>\n" : "</g>\n");
    }
    fprintf(file,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" "
            "stroke=\"#444444\"/>\n",
            LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">bits per pixel</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14);
    fprintf(file,
            "<text transform=\"translate(20 %d) rotate(-90)\" text-anchor=\"middle\">PSNR, dB"
            "</text>\n",
            (TOP + HEIGHT - BOTTOM) / 2);
}

static void draw_curve(FILE *file, const rd_bench *b, const axes *a, const rd_codec *c) {
    const char *colour = colour_of(b, c);
    const rd_curve *curve = &c->curve;
    double least = curve->psnr[0], span = curve->psnr[curve->count - 1] - least;
    fprintf(file, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" d=\"", colour,
            c->peer == NULL ? "3" : "1.8");
    for (int i = 0; curve->count > 1 && i <= STEPS; i++) {
        /* the sum may round to beyond the last point */
        double psnr = fmin(least + span * i / STEPS, curve->psnr[curve->count - 1]);
        fprintf(file, "%s%.1f %.1f", i == 0 ? "M" : "L",
                x_of(a, rd_bpp(b, rd_curve_rate(curve, psnr))), y_of(a, psnr));
    }
    fprintf(file, "\"/>\n");
    for (int i = 0; i < c->count; i++)
        fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\"/>\n",
                x_of(a, rd_bpp(b, c->mean[i].bytes)), y_of(a, c->mean[i].psnr),
                c->peer == NULL ? "4.5" : "3", colour);
}

/* Bottom right, where a curve of PSNR over rate does not go. */
static void draw_legend(FILE *file, const rd_bench *b) {
    int height = 20 * b->codec_count + 12, x = WIDTH - RIGHT - 150;
    int y = HEIGHT - BOTTOM - height - 12;
    fprintf(file,
            "<rect x=\"%d\" y=\"%d\" width=\"138\" height=\"%d\" fill=\"#ffffff\" "
            "stroke=\"#aaaaaa\"/>\n",
            x, y, height);
    for (int i = 0; i < b->codec_count; i++) {
        const rd_codec *c = &b->codecs[i];
        int middle = y + 16 + 20 * i;
        fprintf(file, "<path d=\"M%d %dH%d\" stroke=\"%s\" stroke-width=\"%d\"/>\n", x + 10, middle,
                x + 36, colour_of(b, c), c->peer == NULL ? 4 : 2);
        fprintf(file, "<text x=\"%d\" y=\"%d\">%s</text>\n", x + 44, middle + 4, c->label);
    }
}

void rd_write_plot(const rd_bench *b, FILE *file) {
    axes a = find_axes(b);
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\" "
            "fill=\"#222222\">\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(file, "<text x=\"%d\" y=\"28\" font-size=\"16\">", LEFT);
    write_text(file, b->title);
    fprintf(file, ", %zu %s</text>\n", b->picture_count,
            b->picture_count == 1 ? "picture" : "pictures");
    draw_grid(file, &a);
    fprintf(file,
            "<clipPath id=\"inside\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>"
            "</clipPath>\n<g clip-path=\"url(#inside)\">\n",
            LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    for (int i = b->codec_count - 1; i >= 0; i--) /* vqz on top */
        draw_curve(file, b, &a, &b->codecs[i]);
    fprintf(file, "</g>\n");
    draw_legend(file, b);
    fprintf(file, "</svg>\n");
}
