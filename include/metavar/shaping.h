/* shaping.h - fitness shaping: what stands in the place of the members' objectives in an evolution strategy. */
#ifndef METAVAR_SHAPING_H
#define METAVAR_SHAPING_H

#include <stddef.h>
#include <stdint.h>

enum mv_shaping { MV_SHAPING_NONE, MV_SHAPING_Z_SCORE, MV_SHAPING_CENTERED_RANK };
extern const char *const mv_shaping_names[]; /* "none", "z_score", "centered_rank", NULL */

/* Shapes fitness[n] of one population in place; what is NaN is no member, and stays. order[n]: room. */
void mv_shape(enum mv_shaping, int64_t n, double *fitness, size_t *order);

#endif
