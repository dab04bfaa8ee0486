/* config_error.c - all errors of one pass over a job file.
 *
 * Checks go on after an error, so a file is repaired in one round. Every error has the place of the node that is
 * wrong; they are printed in the order of the file, those of --set last. Whoever adds an error marks the node bad,
 * and later checks of the same node keep quiet: one mistake, one line.
 *
 * The nearest word to a misspelt one is that of least edit distance (insert, delete, replace, swap neighbours:
 * optimal string alignment), if it is within a third of the word's length.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mv_config_alloc(size_t bytes)
{
  void *memory = calloc(1, bytes ? bytes : 1);
  if (!memory) {
    fprintf(stderr, "metavar: out of memory while reading the job file\n");
    abort();
  }
  return memory;
}

/* Control characters, which quoted scalars and paths may hold, stay off the terminal. */
static void make_printable(char *text)
{
  for (; *text; text++) {
    if ((unsigned char)*text < 0x20 || *text == 0x7f) {
      *text = '?';
    }
  }
}

static bool same_place(struct mv_place a, struct mv_place b)
{
  return a.line == b.line && a.column == b.column && a.origin == b.origin;
}

/* "--set estimators.es.sigma" need not say "sigma" again. */
static bool names(const char *origin, const char *key)
{
  size_t length = origin ? strlen(origin) : 0;
  return length > strlen(key) && strcmp(origin + length - strlen(key), key) == 0;
}

void mv_error_list(struct mv_config *c, struct mv_place place, const char *key, const char *format, va_list list)
{
  key = key && names(place.origin, key) ? NULL : key;
  char what[1024], text[1152];
  vsnprintf(what, sizeof what, format, list);
  snprintf(text, sizeof text, "%s%s%s", key ? key : "", key ? ": " : "", what);
  make_printable(text);
  for (int i = 0; i < c->error_count; i++) {
    if (same_place(c->error[i].place, place) && strcmp(c->error[i].text, text) == 0) {
      return; /* a sweep meets the same fault once per combination */
    }
  }
  if (c->error_count == MV_ERRORS_MAX) {
    c->error_more++;
    return;
  }
  char *copy = mv_config_alloc(strlen(text) + 1);
  strcpy(copy, text);
  c->error[c->error_count] = (struct mv_error){place, c->error_count, copy};
  c->error_count++;
}

void mv_error_at(struct mv_config *c, struct mv_place place, const char *key, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  mv_error_list(c, place, key, format, list);
  va_end(list);
}

void mv_error_node(struct mv_config *c, struct mv_node *node, const char *key, const char *format, ...)
{
  if (node->bad) {
    return;
  }
  node->bad = true;
  va_list list;
  va_start(list, format);
  mv_error_list(c, node->place, key, format, list);
  va_end(list);
}

bool mv_config_failed(const struct mv_config *c) { return c->error_count > 0; }

static int by_place(const void *a, const void *b)
{
  const struct mv_error *x = a, *y = b;
  int64_t difference = (x->place.origin != NULL) - (y->place.origin != NULL);
  if (difference == 0 && !x->place.origin) {
    difference = x->place.line != y->place.line ? x->place.line - y->place.line : x->place.column - y->place.column;
  }
  if (difference == 0) {
    difference = x->order - y->order;
  }
  return difference < 0 ? -1 : difference > 0;
}

void mv_error_print(struct mv_config *c, void *report)
{
  FILE *out = report;
  if (!out) {
    return;
  }
  qsort(c->error, (size_t)c->error_count, sizeof *c->error, by_place);
  char name[4096];
  snprintf(name, sizeof name, "%s", c->name);
  make_printable(name);
  for (int i = 0; i < c->error_count; i++) {
    struct mv_place p = c->error[i].place;
    if (p.origin) {
      fprintf(out, "%s: %s\n", p.origin, c->error[i].text);
    } else if (p.line) {
      fprintf(out, "%s:%d:%d: %s\n", name, p.line, p.column, c->error[i].text);
    } else {
      fprintf(out, "%s: %s\n", name, c->error[i].text);
    }
  }
  if (c->error_more) {
    fprintf(out, "%s: and %d more errors\n", name, c->error_more);
  }
}

static int least(int a, int b) { return a < b ? a : b; }

/* Rows of the distance table: this one and the two before it. */
static int edit_distance(const char *a, const char *b)
{
  int n = (int)strlen(a), m = (int)strlen(b), row[3][MV_NAME_MAX + 2];
  for (int j = 0; j <= m; j++) {
    row[0][j] = j;
  }
  for (int i = 1; i <= n; i++) {
    int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
    now[0] = i;
    for (int j = 1; j <= m; j++) {
      int replaced = last[j - 1] + (a[i - 1] != b[j - 1]);
      now[j] = least(replaced, 1 + least(last[j], now[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = least(now[j], before[j - 2] + 1);
      }
    }
  }
  return row[n % 3][m];
}

static const char *nearest(const char *word, const char *const *words, int count)
{
  int best = (int)(strlen(word) + 2) / 3 + 1;
  const char *near = NULL;
  for (int i = 0; i < count && strlen(word) <= MV_NAME_MAX; i++) {
    if (strlen(words[i]) <= MV_NAME_MAX && edit_distance(word, words[i]) < best) {
      best = edit_distance(word, words[i]);
      near = words[i];
    }
  }
  return near;
}

const char *mv_hint_make(char out[MV_HINT_MAX], const char *word, const char *const *words, int count, bool all)
{
  const char *near = nearest(word, words, count);
  int used = near ? snprintf(out, MV_HINT_MAX, "; did you mean \"%s\"?", near) : 0;
  if (near && !all) {
    return out;
  }
  used += snprintf(out + used, (size_t)(MV_HINT_MAX - used), near ? " known: " : "; known: ");
  for (int i = 0; i < count; i++) {
    if (used + (int)strlen(words[i]) + 8 > MV_HINT_MAX) {
      snprintf(out + used, (size_t)(MV_HINT_MAX - used), "...");
      break;
    }
    used += snprintf(out + used, (size_t)(MV_HINT_MAX - used), "%s%s", words[i], i + 1 < count ? ", " : "");
  }
  return out;
}
