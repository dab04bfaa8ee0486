/* settings.c - what is compared: every M-vector that estimates a gradient.
 *
 * A gradient output is one vector per index of its leading axes. A component C with base B stands for the family
 *     g(lambda) = B + lambda C,
 * which is linear, so its mean and covariance follow from those of (B, C) without looking at samples again:
 *     mean g = mean B + lambda mean C
 *     Var g_j = Var B_j + 2 lambda Cov(B_j, C_j) + lambda^2 Var C_j.
 * Vuorio et al. 2022 call lambda the coefficient of the sampling correction.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

static bool is_base(const struct mv_layout *layout, int output)
{
  for (int o = 0; o < layout->output_count; o++)
    if (layout->output[o].role == MV_COMPONENT && layout->output[o].base == output)
      return true;
  return false;
}

static int64_t leading_size(const struct mv_output *output, int axes)
{
  int64_t size = 1;
  for (int a = 0; a < axes; a++)
    size *= output->axis[a].length;
  return size;
}

/* Row-major position of `index` along the first `axes` axes. */
static int64_t flatten(const struct mv_output *output, int axes, const int *index)
{
  int64_t at = 0;
  for (int a = 0; a < axes; a++)
    at = at * output->axis[a].length + index[a];
  return at;
}

static int64_t find_watched(const struct mv_layout *layout, int64_t a, int64_t b)
{
  for (int64_t v = 0; v < layout->vectors; v++) {
    const int64_t *part = layout->vector[v];
    if ((part[0] == a && part[1] == b) || (part[0] == b && part[1] == a))
      return v;
  }
  return -1;
}

/* The layout tells the cost along the leading axes of output 0; other outputs are matched by the names of their axes.
 */
static void find_cost(const struct mv_layout *layout, struct mv_setting *s)
{
  int index[MV_AXES_MAX];
  s->primal = s->tangent = NAN;
  for (int a = 0; a < layout->cost_rank; a++) {
    int axis = mv_setting_axis(layout, s, layout->output[0].axis[a].name);
    if (axis < 0)
      return;
    index[a] = s->index[axis];
  }
  int64_t at = flatten(&layout->output[0], layout->cost_rank, index);
  s->primal = layout->primal[at];
  s->tangent = layout->tangent[at];
}

static struct mv_setting make_one(const struct mv_layout *layout, int o, int64_t flat, double lambda)
{
  const struct mv_output *output = &layout->output[o];
  int axes = output->rank - 1, meta = output->axis[axes].length;
  struct mv_setting s = {.output = o, .base = -1, .lambda = NAN};
  for (int64_t a = axes - 1, rest = flat; a >= 0; a--) {
    s.index[a] = (int)(rest % output->axis[a].length);
    rest /= output->axis[a].length;
  }
  s.first = layout->offset[o] + flat * meta;
  if (output->role == MV_COMPONENT) {
    const struct mv_output *base = &layout->output[output->base];
    s.base = layout->offset[output->base] + flatten(base, base->rank - 1, s.index) * meta;
    s.lambda = lambda;
  }
  if (s.base < 0)
    s.watched = find_watched(layout, s.first, -1);
  else if (lambda == 0)
    s.watched = find_watched(layout, s.base, -1);
  else
    s.watched = lambda == 1 ? find_watched(layout, s.base, s.first) : -1;
  find_cost(layout, &s);
  return s;
}

struct mv_settings mv_settings_make(const struct mv_layout *layout, const double *lambda, int lambdas)
{
  struct mv_settings all = {0};
  for (int o = 0; o < layout->output_count; o++) {
    const struct mv_output *output = &layout->output[o];
    bool component = output->role == MV_COMPONENT;
    if (!component && !(output->role == MV_GRADIENT && !is_base(layout, o)) && output->role != MV_TARGET)
      continue;
    assert(output->rank >= 1);
    int64_t flats = leading_size(output, output->rank - 1);
    int each = component ? lambdas : 1;
    all.meta = output->axis[output->rank - 1].length;
    all.at = mv_memory_grow(all.at, (size_t)(all.count + flats * each), sizeof *all.at);
    for (int64_t flat = 0; flat < flats; flat++)
      for (int l = 0; l < each; l++)
        all.at[all.count++] = make_one(layout, o, flat, component ? lambda[l] : NAN);
  }
  return all;
}

void mv_settings_free(struct mv_settings *s)
{
  free(s->at);
  *s = (struct mv_settings){0};
}

int mv_setting_axis(const struct mv_layout *layout, const struct mv_setting *s, const char *name)
{
  const struct mv_output *output = &layout->output[s->output];
  for (int a = 0; a < output->rank - 1; a++)
    if (strcmp(output->axis[a].name, name) == 0)
      return a;
  return -1;
}

void mv_axis_text(const struct mv_axis *axis, int index, char *out, size_t size)
{
  if (axis->kind == MV_AXIS_NAMES && axis->value.names)
    snprintf(out, size, "%s", axis->value.names[index]);
  else
    snprintf(out, size, "%.15g", mv_axis_number(axis, index));
}

double mv_axis_number(const struct mv_axis *axis, int index)
{
  switch (axis->kind) {
  case MV_AXIS_NAMES:
    return axis->value.names ? NAN : index;
  case MV_AXIS_INTS:
    return axis->value.ints ? (double)axis->value.ints[index] : index;
  default:
    return axis->value.reals ? axis->value.reals[index] : index;
  }
}

void mv_setting_combine(const struct mv_setting *s, int meta, int64_t moments, const double *mean,
                        const double *comoment, double *g_mean, double *g_square)
{
  for (int m = 0; m < meta; m++) {
    int64_t c = s->first + m, b = s->base + m;
    double square = comoment[mv_pair_at(moments, c, c)];
    if (s->base < 0) {
      g_mean[m] = mean[c];
      g_square[m] = square;
      continue;
    }
    g_mean[m] = mean[b] + s->lambda * mean[c];
    g_square[m] = comoment[mv_pair_at(moments, b, b)] + 2 * s->lambda * comoment[mv_pair_at(moments, b, c)] +
                  s->lambda * s->lambda * square;
    if (g_square[m] < 0) /* components that cancel: a rounding error below zero */
      g_square[m] = 0;
  }
}
