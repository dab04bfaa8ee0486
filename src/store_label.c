/* store_label.c - what the numbers of a flat array of moments are called: output, setting, meta-parameter.
 *
 *   values   direct[truncation=2,hessian=pathwise,eta_0]
 *   vectors  direct+correction[truncation=2,hessian=pathwise,meta_discount=0.5]
 */
#include "metavar/store_internal.h"

#include <stdio.h>
#include <string.h>

#include "metavar/memory.h"

#define LABEL_MAX 512

char *mv_text_copy(const char *text)
{
  char *copy = mv_memory_take(strlen(text) + 1, 1);
  return strcpy(copy, text);
}

static int label_axis(const struct mv_axis *axis, int64_t k, char *out, size_t size)
{
  char number[MV_REAL_TEXT];
  if (strcmp(axis->name, "meta_parameter") == 0)
    return snprintf(out, size, "%s", axis->value.names[k]);
  if (axis->kind == MV_AXIS_NAMES)
    return snprintf(out, size, "%s=%s", axis->name, axis->value.names[k]);
  if (axis->kind == MV_AXIS_INTS)
    return snprintf(out, size, "%s=%lld", axis->name, (long long)(axis->value.ints ? axis->value.ints[k] : k));
  mv_real_print(axis->value.reals[k], number);
  return snprintf(out, size, "%s=%s", axis->name, number);
}

/* "name[truncation=2,hessian=pathwise,eta_0]": element `index` of the first `rank` axes. */
static char *make_label(const char *name, const struct mv_axis *axis, int rank, int64_t index)
{
  char text[LABEL_MAX];
  int64_t stride = 1;
  for (int a = 0; a < rank; a++)
    stride *= axis[a].length;
  int length = snprintf(text, sizeof text, "%s%s", name, rank ? "[" : "");
  for (int a = 0; a < rank && length < LABEL_MAX; a++) {
    stride /= axis[a].length;
    length += label_axis(&axis[a], index / stride % axis[a].length, text + length, LABEL_MAX - (size_t)length);
    if (length < LABEL_MAX)
      length += snprintf(text + length, LABEL_MAX - (size_t)length, a + 1 < rank ? "," : "]");
  }
  return mv_text_copy(text);
}

void mv_label_values(const struct mv_layout *layout, char **label)
{
  for (int o = 0; o < layout->output_count; o++)
    for (int64_t k = 0; k < layout->size[o] && layout->output[o].role < MV_NOTE; k++)
      *label++ = make_label(layout->output[o].name, layout->output[o].axis, layout->output[o].rank, k);
}

void mv_label_vectors(const struct mv_layout *layout, int meta, char **label)
{
  for (int o = 0; o < layout->output_count; o++) {
    const struct mv_output *output = &layout->output[o];
    char name[LABEL_MAX / 2];
    if (output->role == MV_COMPONENT)
      snprintf(name, sizeof name, "%s+%s", layout->output[output->base].name, output->name);
    else
      snprintf(name, sizeof name, "%s", output->name);
    for (int64_t k = 0; k < layout->size[o] / meta && output->role <= MV_TARGET; k++)
      *label++ = make_label(name, output->axis, output->rank - 1, k);
  }
}
