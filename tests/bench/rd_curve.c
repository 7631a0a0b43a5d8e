/* rd_curve.c - see rd_curve.h. */
#include "tests/bench/rd_curve.h"

#include <math.h>

static bool is_dominated(const double *rate, const double *psnr, int count, int point) {
    for (int i = 0; i < count; i++) {
        bool equal = rate[i] == rate[point] && psnr[i] == psnr[point];
        if (rate[i] <= rate[point] && psnr[i] >= psnr[point] && (!equal || i < point))
            return true;
    }
    return false;
}

/* The slope at an end: that of the parabola through three points, unless it would fall. */
static double end_slope(double near_step, double far_step, double near_rise, double far_rise) {
    double slope =
        ((2 * near_step + far_step) * near_rise - near_step * far_rise) / (near_step + far_step);
    return fmax(slope, 0);
}

/* All rises are positive, so the weighted harmonic mean of Fritsch and Butland needs no cases. */
static void set_slopes(rd_curve *c) {
    double step[RD_MAX_POINTS], rise[RD_MAX_POINTS];
    int last = c->count - 1;
    for (int i = 0; i < last; i++) {
        step[i] = c->psnr[i + 1] - c->psnr[i];
        rise[i] = (c->log_rate[i + 1] - c->log_rate[i]) / step[i];
    }
    if (last < 2) {
        c->slope[0] = c->slope[1] = last == 1 ? rise[0] : 0;
        return;
    }
    for (int i = 1; i < last; i++) {
        double before = step[i - 1] + 2 * step[i], after = 2 * step[i - 1] + step[i];
        c->slope[i] = (before + after) / (before / rise[i - 1] + after / rise[i]);
    }
    c->slope[0] = end_slope(step[0], step[1], rise[0], rise[1]);
    c->slope[last] = end_slope(step[last - 1], step[last - 2], rise[last - 1], rise[last - 2]);
}

void rd_curve_init(rd_curve *c, const double *rate, const double *psnr, int count) {
    c->count = 0;
    for (int i = 0; i < count; i++) {
        if (is_dominated(rate, psnr, count, i))
            continue;
        int at = c->count++;
        for (; at > 0 && c->psnr[at - 1] > psnr[i]; at--) {
            c->psnr[at] = c->psnr[at - 1];
            c->log_rate[at] = c->log_rate[at - 1];
        }
        c->psnr[at] = psnr[i];
        c->log_rate[at] = log(rate[i]);
    }
    if (c->count > 0)
        set_slopes(c);
}

/* Log rate within segment i. */
static double value_in(const rd_curve *c, int i, double psnr) {
    double step = c->psnr[i + 1] - c->psnr[i], t = (psnr - c->psnr[i]) / step, u = 1 - t;
    return u * u * (1 + 2 * t) * c->log_rate[i] + t * t * (1 + 2 * u) * c->log_rate[i + 1] +
           t * u * step * (u * c->slope[i] - t * c->slope[i + 1]);
}

double rd_curve_rate(const rd_curve *c, double psnr) {
    if (c->count == 1 && psnr == c->psnr[0])
        return exp(c->log_rate[0]);
    for (int i = 0; i + 1 < c->count; i++)
        if (c->psnr[i] <= psnr && psnr <= c->psnr[i + 1])
            return exp(value_in(c, i, psnr));
    return NAN;
}

double rd_curve_psnr(const rd_curve *c, double rate) {
    double wanted = log(rate), low = c->psnr[0], high = c->psnr[c->count - 1];
    if (wanted <= c->log_rate[0])
        return low;
    if (wanted >= c->log_rate[c->count - 1])
        return high;
    for (int i = 0; i < 60; i++) { /* halved down to the last bit of a double */
        double middle = (low + high) / 2;
        if (log(rd_curve_rate(c, middle)) < wanted)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

/* Simpson's rule is exact for the cubic of each segment. */
static double integral(const rd_curve *c, double least, double most) {
    double sum = 0;
    for (int i = 0; i + 1 < c->count; i++) {
        double from = fmax(least, c->psnr[i]), to = fmin(most, c->psnr[i + 1]);
        if (from < to)
            sum +=
                (to - from) / 6 *
                (value_in(c, i, from) + 4 * value_in(c, i, (from + to) / 2) + value_in(c, i, to));
    }
    return sum;
}

bool rd_curve_compare(rd_difference *d, const rd_curve *a, const rd_curve *b, double least_rate,
                      double most_rate) {
    if (a->count < 2 || b->count < 2)
        return false;
    d->least_psnr = fmax(rd_curve_psnr(a, least_rate), rd_curve_psnr(b, least_rate));
    d->most_psnr = fmin(rd_curve_psnr(a, most_rate), rd_curve_psnr(b, most_rate));
    if (!(d->least_psnr < d->most_psnr))
        return false;
    double difference =
        integral(a, d->least_psnr, d->most_psnr) - integral(b, d->least_psnr, d->most_psnr);
    d->factor = exp(difference / (d->most_psnr - d->least_psnr));
    return true;
}
