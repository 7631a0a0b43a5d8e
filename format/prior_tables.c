/*
 * prior_tables.c - logits of the conditional prior as the frequencies that rANS codes with
 * (normative, format/model.h).
 */
#include "format/model.h"

/* floor(2^(15 - i / 256) + 1/2) */
static const uint16_t exp2_table[256] = {
    32768, 32679, 32591, 32503, 32415, 32327, 32240, 32153, 32066, 31979, 31893, 31806, 31720,
    31635, 31549, 31464, 31379, 31294, 31209, 31125, 31041, 30957, 30873, 30790, 30706, 30623,
    30541, 30458, 30376, 30293, 30212, 30130, 30048, 29967, 29886, 29805, 29725, 29644, 29564,
    29484, 29405, 29325, 29246, 29167, 29088, 29009, 28931, 28852, 28774, 28697, 28619, 28542,
    28464, 28388, 28311, 28234, 28158, 28082, 28006, 27930, 27855, 27779, 27704, 27629, 27554,
    27480, 27406, 27332, 27258, 27184, 27110, 27037, 26964, 26891, 26818, 26746, 26674, 26601,
    26530, 26458, 26386, 26315, 26244, 26173, 26102, 26031, 25961, 25891, 25821, 25751, 25681,
    25612, 25543, 25474, 25405, 25336, 25268, 25199, 25131, 25063, 24995, 24928, 24860, 24793,
    24726, 24659, 24593, 24526, 24460, 24394, 24328, 24262, 24196, 24131, 24066, 24001, 23936,
    23871, 23806, 23742, 23678, 23614, 23550, 23486, 23423, 23359, 23296, 23233, 23170, 23108,
    23045, 22983, 22921, 22859, 22797, 22735, 22674, 22613, 22552, 22491, 22430, 22369, 22309,
    22248, 22188, 22128, 22068, 22009, 21949, 21890, 21831, 21772, 21713, 21654, 21595, 21537,
    21479, 21421, 21363, 21305, 21247, 21190, 21133, 21076, 21019, 20962, 20905, 20849, 20792,
    20736, 20680, 20624, 20568, 20513, 20457, 20402, 20347, 20292, 20237, 20182, 20127, 20073,
    20019, 19965, 19911, 19857, 19803, 19750, 19696, 19643, 19590, 19537, 19484, 19431, 19379,
    19326, 19274, 19222, 19170, 19118, 19066, 19015, 18963, 18912, 18861, 18810, 18759, 18708,
    18658, 18607, 18557, 18507, 18457, 18407, 18357, 18308, 18258, 18209, 18160, 18110, 18061,
    18013, 17964, 17915, 17867, 17819, 17770, 17722, 17674, 17627, 17579, 17531, 17484, 17437,
    17390, 17343, 17296, 17249, 17202, 17156, 17109, 17063, 17017, 16971, 16925, 16879, 16834,
    16788, 16743, 16697, 16652, 16607, 16562, 16518, 16473, 16428};

void vqzi_prior_logits(const int16_t *logits, uint32_t codes, uint16_t *frequencies) {
    int32_t largest = logits[0];
    uint32_t first = 0, sum = 0, total = 1u << VQZI_PROBABILITY_BITS;
    for (uint32_t k = 1; k < codes; k++)
        largest = VQZI_MAX(largest, logits[k]);
    while (logits[first] != largest)
        first++;
    for (uint32_t k = 0; k < codes; k++) {
        uint32_t below = (uint32_t)(largest - logits[k]); /* up to 2^16 - 1 */
        uint32_t shift = VQZI_MIN(below >> 8, 16u);       /* 16 leaves nothing of 15 bits */
        uint32_t weight = (uint32_t)exp2_table[below & 255] >> shift;
        frequencies[k] = (uint16_t)weight;
        sum += weight; /* 2^15 to 2^27 */
    }
    /* Division by `sum` is multiplication by its inverse, rounded up at 2^48.  That adds less than
       2^15 / 2^48 to a quotient whose distance to the next integer above is at least 2^-27; and the
       products stay below 2^15 (2^16 - 2) 2^48 / 2^15 + 2^15, within 64 bits. */
    /* cppcheck-suppress zerodiv ; the largest logit alone weighs 2^15 */
    uint64_t inverse = ((uint64_t)(total - codes) << 48) / sum + 1; /* NOLINT(*DivideZero) */
    uint32_t given = 0;
    for (uint32_t k = 0; k < codes; k++) {
        uint32_t frequency = 1 + (uint32_t)(frequencies[k] * inverse >> 48);
        frequencies[k] = (uint16_t)frequency;
        given += frequency;
    }
    frequencies[first] = (uint16_t)(frequencies[first] + total - given);
}
