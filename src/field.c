/* field.c - typed settings: looking up rows of a table, and values as canonical text.
 *
 * Text of a double is the shortest of %.15g, %.16g, %.17g that reads back to the same bits, without the plus sign of
 * an exponent. The C locale is set around conversions, so a decimal comma of the environment never gets in.
 * The way back, from text to values, is config_value.c.
 */
#define _GNU_SOURCE
#include "config.h"
#include <assert.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mv_field_count(const struct mv_field *table)
{
  int count = 0;
  while (table[count].name) {
    count++;
  }
  return count;
}

const struct mv_field *mv_field_find(const struct mv_field *table, const char *name)
{
  for (; table->name; table++) {
    if (strcmp(table->name, name) == 0) {
      return table;
    }
  }
  return NULL;
}

void mv_real_round(double value, int digits, char out[MV_REAL_TEXT])
{
  assert(isfinite(value));
  locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(plain);
  snprintf(out, MV_REAL_TEXT, "%.*g", digits, value == 0 ? 0.0 : value);
  uselocale(before);
  freelocale(plain);
  char *plus = strchr(out, '+');
  if (plus) {
    memmove(plus, plus + 1, strlen(plus));
  }
}

void mv_real_print(double value, char out[MV_REAL_TEXT])
{
  double back = NAN;
  for (int digits = 15; digits <= 17 && back != value; digits++) {
    mv_real_round(value, digits, out);
    mv_number_read(out, &back);
  }
}

/* Text that grows past its end without being written there, like snprintf. */
struct writer {
  char *out;
  size_t size, used;
};

static void put(struct writer *w, const char *text)
{
  size_t length = strlen(text);
  if (w->used < w->size) {
    size_t room = w->size - w->used - 1, part = length < room ? length : room;
    memcpy(w->out + w->used, text, part);
    w->out[w->used + part] = '\0';
  }
  w->used += length;
}

static void put_integer(struct writer *w, int64_t value)
{
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)value);
  put(w, text);
}

static void put_real(struct writer *w, double value)
{
  char text[MV_REAL_TEXT];
  mv_real_print(value, text);
  put(w, text);
}

static void put_list(struct writer *w, const struct mv_field *f, const void *member)
{
  const struct mv_ints *ints = member;
  const struct mv_reals *reals = member;
  const struct mv_choices *choices = member;
  int count = f->kind == MV_INT_LIST ? ints->count : f->kind == MV_REAL_LIST ? reals->count : choices->count;
  put(w, "[");
  for (int i = 0; i < count; i++) {
    put(w, i ? ", " : "");
    if (f->kind == MV_INT_LIST) {
      put_integer(w, ints->value[i]);
    } else if (f->kind == MV_REAL_LIST) {
      put_real(w, reals->value[i]);
    } else {
      put(w, f->choices[choices->value[i]]);
    }
  }
  put(w, "]");
}

int mv_field_print(const struct mv_field *f, const void *settings, char *out, size_t size)
{
  struct writer w = {out, size, 0};
  const void *member = (const char *)settings + f->offset;
  char seed[32];
  if (size) {
    out[0] = '\0';
  }
  switch (f->kind) {
  case MV_INT:
    put_integer(&w, *(const int64_t *)member);
    break;
  case MV_SEED:
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)*(const uint64_t *)member);
    put(&w, seed);
    break;
  case MV_REAL:
    put_real(&w, *(const double *)member);
    break;
  case MV_BOOL:
    put(&w, *(const bool *)member ? "true" : "false");
    break;
  case MV_CHOICE:
    put(&w, f->choices[*(const int *)member]);
    break;
  case MV_NAME:
    put(&w, member);
    break;
  case MV_INT_LIST:
  case MV_REAL_LIST:
  case MV_CHOICE_LIST:
    put_list(&w, f, member);
    break;
  }
  return (int)w.used;
}
