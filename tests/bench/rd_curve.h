/*
 * rd_curve.h - a rate-distortion curve between measured points, and the Bjontegaard difference of
 * two.
 *
 * The logarithm of the rate is interpolated over PSNR by PCHIP (piecewise cubic Hermite polynomials
 * with slopes that keep monotone data monotone), so nothing overshoots between points far apart.
 *
 * G. Bjontegaard: Calculation of average PSNR differences between RD-curves, VCEG-M33, 2001.
 * F. N. Fritsch, J. Butland: A method for constructing local monotone piecewise cubic interpolants,
 * SIAM J. Sci. Stat. Comput. 5(2), 1984.
 */
#ifndef TESTS_BENCH_RD_CURVE_H
#define TESTS_BENCH_RD_CURVE_H

#include <stdbool.h>

enum { RD_MAX_POINTS = 100 };

/* Both psnr and log_rate ascend strictly. */
typedef struct rd_curve {
    int count;
    double psnr[RD_MAX_POINTS], log_rate[RD_MAX_POINTS], slope[RD_MAX_POINTS];
} rd_curve;

/* From at most RD_MAX_POINTS points in any order, rates above zero in any unit.  A point is left
   out when another has no more rate and no less PSNR: nobody would use its setting. */
void rd_curve_init(rd_curve *c, const double *rate, const double *psnr, int count);

/* Rate at a PSNR between those of the first and the last point; NAN elsewhere. */
double rd_curve_rate(const rd_curve *c, double psnr);
/* PSNR at a rate; that of the first or last point for rates beyond them.  At least one point. */
double rd_curve_psnr(const rd_curve *c, double rate);

typedef struct rd_difference {
    double factor;                /* mean rate of a / mean rate of b, geometric, at equal PSNR */
    double least_psnr, most_psnr; /* the interval that the mean is over */
} rd_difference;
/* Over the PSNRs that both curves have with rates between least_rate and most_rate.  False where
   there are none, also when a curve has fewer than two points. */
bool rd_curve_compare(rd_difference *d, const rd_curve *a, const rd_curve *b, double least_rate,
                      double most_rate);

#endif
