/* config_value.c - from a node of the document to a typed setting, as its row of a field table says.
 *
 * Wherever numbers may be listed, a range may stand instead; both ends are values and come out exactly:
 *     {linspace: [a, b, n]}   x_i = (a (n-1-i) + b i) / (n-1), rounded to 15 significant digits
 *     {logspace: [a, b, n]}   x_i = a^(1-i/(n-1)) b^(i/(n-1)), a, b > 0, rounded to 12 significant digits
 * Rounding gives the decimals that a person would write (0.1, not 0.10000000000000002). The inner points of logspace
 * come from the C library's pow; the rounding hides its last bits, and the resolved job holds the decimal values, so
 * another machine that resumes from it uses the same ones. A range is expanded in the tree, into a list of such
 * decimals: the rest of the reader knows lists only.
 */
#include "config.h"
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- ranges --- */

static void range_point(bool logarithmic, double a, double b, int64_t n, int64_t i, char text[MV_REAL_TEXT])
{
  double last = (double)(n - 1), at = (double)i;
  if (i == 0 || i == n - 1) {
    mv_real_print(i == 0 ? a : b, text);
  } else if (logarithmic) {
    mv_real_round(pow(a, 1 - at / last) * pow(b, at / last), 12, text);
  } else {
    double x = (a * (last - at) + b * at) / last;
    mv_real_round(isfinite(x) ? x : a / last * (last - at) + b / last * at, 15, text);
  }
}

/* The three numbers of a range; false after a report. */
static bool range_ends(struct mv_config *c, const char *key, struct mv_node *list, bool logarithmic, double *a,
                       double *b, int64_t *n)
{
  static const struct mv_field
      ends = {.kind = MV_REAL, .name = "end of the range", .min = -DBL_MAX, .max = DBL_MAX},
      positive = {.kind = MV_REAL, .name = "end of the range", .min = 0, .max = DBL_MAX, .open_min = true},
      points = {.kind = MV_INT, .name = "points of the range", .min = 2, .max = MV_NUMBERS_MAX};
  if (list->kind != MV_LIST || list->count != 3) {
    mv_error_node(c, list, key, "a range needs three numbers; write [first, last, how many]");
    return false;
  }
  const struct mv_field *end = logarithmic ? &positive : &ends;
  bool good = mv_value_read(c, end, mv_node_item(list, 0), a);
  good = mv_value_read(c, end, mv_node_item(list, 1), b) && good;
  return mv_value_read(c, &points, mv_node_item(list, 2), n) && good;
}

static struct mv_node *range_expand(struct mv_config *c, const char *key, struct mv_node *node)
{
  struct mv_node *list = node->first;
  bool logarithmic = mv_node_get(node, "logspace");
  double a, b;
  int64_t n;
  if (node->bad) {
    return NULL;
  }
  if (node->count != 1 || !(logarithmic || mv_node_get(node, "linspace"))) {
    mv_error_node(c, node, key,
                  "a mapping that is no range; write a number, a list, {linspace: [a, b, n]} or {logspace: [a, b, n]}");
    return NULL;
  }
  if (list->bad || !range_ends(c, key, list, logarithmic, &a, &b, &n)) {
    node->bad = true;
    return NULL;
  }
  c->expanded += n;
  if (c->expanded > MV_NUMBERS_MAX) {
    mv_error_node(c, node, key, "the ranges of this file make more than %d numbers; take fewer", MV_NUMBERS_MAX);
    return NULL;
  }
  node->kind = MV_LIST;
  node->first = node->last = NULL;
  node->count = 0;
  for (int64_t i = 0; i < n; i++) {
    char text[MV_REAL_TEXT];
    range_point(logarithmic, a, b, n, i, text);
    mv_node_append(node, NULL, mv_node_make(c, MV_SCALAR, node->place, text, strlen(text)));
  }
  return node;
}

struct mv_node *mv_value_list(struct mv_config *c, const char *key, struct mv_node *node)
{
  if (node->kind == MV_MAP) {
    return range_expand(c, key, node);
  }
  if (node->kind == MV_LIST) {
    return node;
  }
  struct mv_node *list = mv_node_make(c, MV_LIST, node->place, NULL, 0);
  struct mv_node *item = mv_node_make(c, MV_SCALAR, node->place, node->text, strlen(node->text));
  item->quoted = node->quoted;
  item->bad = node->bad;
  mv_node_append(list, NULL, item);
  return list;
}

/* --- one value --- */

static void complain_range(struct mv_config *c, const struct mv_field *f, struct mv_node *node)
{
  char least[MV_REAL_TEXT], most[MV_REAL_TEXT];
  bool real = f->kind == MV_REAL || f->kind == MV_REAL_LIST;
  bool bounded = !real || f->max < DBL_MAX;
  mv_real_print(fmax(f->min, -DBL_MAX), least);
  mv_real_print(fmin(f->max, real ? DBL_MAX : 0x1p63), most);
  const char *relation = f->open_min ? "greater than" : "at least";
  mv_error_node(c, node, f->name, "%.40s is out of range; give a number %s %s%s%s", node->text, relation, least,
                bounded ? " and at most " : "", bounded ? most : "");
}

static bool in_range(const struct mv_field *f, double value)
{
  return value <= f->max && (f->open_min ? value > f->min : value >= f->min);
}

static bool read_real(struct mv_config *c, const struct mv_field *f, struct mv_node *node, double *out)
{
  double value;
  const char *fault = mv_number_read(node->text, &value);
  if (fault) {
    mv_error_node(c, node, f->name, "\"%.40s\" %s", node->text, fault);
  } else if (!in_range(f, value)) {
    complain_range(c, f, node);
  } else {
    *out = value;
    return true;
  }
  return false;
}

static bool read_integer(struct mv_config *c, const struct mv_field *f, struct mv_node *node, void *out)
{
  bool negative;
  uint64_t magnitude;
  const char *fault = mv_integer_read(node->text, &negative, &magnitude);
  if (fault) {
    mv_error_node(c, node, f->name, "\"%.40s\" %s", node->text, fault);
  } else if (f->kind == MV_SEED && negative) {
    mv_error_node(c, node, f->name, "%.40s is negative; give an integer from 0 to 18446744073709551615", node->text);
  } else if (f->kind != MV_SEED &&
             (magnitude > INT64_MAX || !in_range(f, negative ? -(double)magnitude : (double)magnitude))) {
    complain_range(c, f, node);
  } else if (f->kind == MV_SEED) {
    *(uint64_t *)out = magnitude;
    return true;
  } else {
    *(int64_t *)out = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
  }
  return false;
}

static bool read_bool(struct mv_config *c, const struct mv_field *f, struct mv_node *node, bool *out)
{
  if (strcmp(node->text, "true") != 0 && strcmp(node->text, "false") != 0) {
    mv_error_node(c, node, f->name, "\"%.40s\" is neither true nor false; write one of them", node->text);
    return false;
  }
  *out = node->text[0] == 't';
  return true;
}

static bool read_choice(struct mv_config *c, const struct mv_field *f, struct mv_node *node, int *out)
{
  char hint[MV_HINT_MAX];
  int count = 0;
  for (; f->choices[count]; count++) {
    if (strcmp(node->text, f->choices[count]) == 0) {
      *out = count;
      return true;
    }
  }
  mv_error_node(c, node, f->name, "\"%.40s\" is not a choice%s", node->text,
                mv_hint_make(hint, node->text, f->choices, count, true));
  return false;
}

static bool read_name(struct mv_config *c, const struct mv_field *f, struct mv_node *node, char *out)
{
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  char all[sizeof letters + 3];
  snprintf(all, sizeof all, "%s._-", letters);
  size_t length = strlen(node->text);
  if (length == 0 || length > MV_NAME_MAX || strspn(node->text, all) != length || !strchr(letters, node->text[0])) {
    mv_error_node(c, node, f->name,
                  "\"%.80s\" cannot be a name; use 1 to %d of A-Z a-z 0-9 . _ -, first a letter or digit", node->text,
                  MV_NAME_MAX);
    return false;
  }
  strcpy(out, node->text);
  return true;
}

static bool read_one(struct mv_config *c, const struct mv_field *f, struct mv_node *node, void *out)
{
  bool word = f->kind == MV_NAME || f->kind == MV_CHOICE || f->kind == MV_CHOICE_LIST;
  if (node->bad) {
    return false;
  }
  if (node->kind != MV_SCALAR) {
    mv_error_node(c, node, f->name, "%s where one %s belongs", mv_node_kind_name(node), word ? "word" : "value");
    return false;
  }
  if (node->quoted && !word) {
    mv_error_node(c, node, f->name, "\"%.40s\" is quoted, so a text; remove the quotes", node->text);
    return false;
  }
  if (!node->quoted && !*node->text) {
    mv_error_node(c, node, f->name, "no value is given; write one after the colon");
    return false;
  }
  switch (f->kind) {
  case MV_INT:
  case MV_INT_LIST:
  case MV_SEED:
    return read_integer(c, f, node, out);
  case MV_REAL:
  case MV_REAL_LIST:
    return read_real(c, f, node, out);
  case MV_BOOL:
    return read_bool(c, f, node, out);
  case MV_CHOICE:
  case MV_CHOICE_LIST:
    return read_choice(c, f, node, out);
  case MV_NAME:
    return read_name(c, f, node, out);
  }
  assert(!"a kind of field");
  return false;
}

/* --- lists --- */

static bool twice(const struct mv_choices *list)
{
  for (int i = 0; i + 1 < list->count; i++) {
    if (list->value[i] == list->value[list->count - 1]) {
      return true;
    }
  }
  return false;
}

static bool read_list(struct mv_config *c, const struct mv_field *f, struct mv_node *node, void *member)
{
  struct mv_ints *ints = member;
  struct mv_reals *reals = member;
  struct mv_choices *choices = member;
  struct mv_node *list = f->kind == MV_CHOICE_LIST && node->kind == MV_MAP ? NULL : mv_value_list(c, f->name, node);
  if (!list) {
    mv_error_node(c, node, f->name, "a mapping where a list of words belongs");
    return false;
  }
  if (list->count > MV_LIST_MAX || (list->count == 0 && !(f->fallback && strcmp(f->fallback, "[]") == 0))) {
    mv_error_node(c, node, f->name, "a list of %d; give 1 to %d values", list->count, MV_LIST_MAX);
    return false;
  }
  bool good = true;
  int count = 0;
  for (struct mv_node *n = list->first; n; n = n->next, count++) {
    void *out = f->kind == MV_INT_LIST    ? (void *)&ints->value[count]
                : f->kind == MV_REAL_LIST ? (void *)&reals->value[count]
                                          : (void *)&choices->value[count];
    bool read = read_one(c, f, n, out);
    if (f->kind == MV_CHOICE_LIST && (choices->count = count + 1, read) && twice(choices)) {
      mv_error_node(c, n, f->name, "\"%.40s\" stands twice in the list; remove one", n->text);
      read = false;
    }
    good = good && read;
  }
  int *stored = f->kind == MV_INT_LIST ? &ints->count : f->kind == MV_REAL_LIST ? &reals->count : &choices->count;
  *stored = count;
  return good;
}

bool mv_value_read(struct mv_config *c, const struct mv_field *f, struct mv_node *node, void *settings)
{
  void *member = (char *)settings + f->offset;
  bool list = f->kind == MV_INT_LIST || f->kind == MV_REAL_LIST || f->kind == MV_CHOICE_LIST;
  bool good = !node->bad && (list ? read_list(c, f, node, member) : read_one(c, f, node, member));
  node->bad = !good;
  return good;
}
