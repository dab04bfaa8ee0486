/* field.h - typed settings, described once.
 *
 * A table of mv_field rows is the only description of a family of settings. From it follow: parsing and
 * range checks of job files, `metavar describe`, HDF5 attributes, and the canonical text that is hashed.
 * Every task and every estimator owns one table; config.c owns those of the job itself.
 */
#ifndef METAVAR_FIELD_H
#define METAVAR_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MV_LIST_MAX 64 /* longest list that one setting may hold */
#define MV_NAME_MAX 64 /* longest name, without the terminating zero */

struct mv_ints {
  int count;
  int64_t value[MV_LIST_MAX];
};
struct mv_reals {
  int count;
  double value[MV_LIST_MAX];
};
struct mv_choices { /* indices into mv_field.choices */
  int count;
  int value[MV_LIST_MAX];
};

enum mv_kind {                /* the type of the struct member at mv_field.offset */
               MV_INT,        /* int64_t */
               MV_SEED,       /* uint64_t, the whole range */
               MV_REAL,       /* double, always finite */
               MV_BOOL,       /* bool */
               MV_CHOICE,     /* int: an index into choices */
               MV_NAME,       /* char[MV_NAME_MAX + 1]: [A-Za-z0-9._-]+, first a letter or digit */
               MV_INT_LIST,   /* struct mv_ints */
               MV_REAL_LIST,  /* struct mv_reals */
               MV_CHOICE_LIST /* struct mv_choices */
};

struct mv_field {
  const char *name; /* the key in a job file */
  enum mv_kind kind;
  size_t offset;              /* offsetof(struct settings, member) */
  const char *fallback;       /* default as YAML text ("4", "[0, 1]", "[]"); NULL: the key must be given */
  double min, max;            /* inclusive range of every number, unless open_min */
  const char *const *choices; /* NULL-terminated words of MV_CHOICE, MV_CHOICE_LIST */
  const char *unit;           /* UDUNITS text, "1" when dimensionless, NULL for words */
  const char *doc;            /* one sentence, lower case, no full stop */
  bool open_min;              /* min itself is not allowed */
  bool estimate;              /* of a task: changes how samples are credited, not the objective that is estimated */
};
#define MV_FIELD_END                                                                                                   \
  {                                                                                                                    \
    .name = NULL                                                                                                       \
  }

/* Something wrong with the value of one key. `complete` hooks of tasks and estimators report through it;
 * the reader adds file, line and column. */
struct mv_complaints;
void mv_complain(struct mv_complaints *, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Number of rows before MV_FIELD_END. */
int mv_field_count(const struct mv_field *table);

/* Row called name, or NULL. */
const struct mv_field *mv_field_find(const struct mv_field *table, const char *name);

/* Canonical text of one value: shortest decimal that reads back to the same bits, lists in brackets.
 * Returns the length that the whole text needs (like snprintf). */
int mv_field_print(const struct mv_field *, const void *settings, char *out, size_t size);

/* The same for one finite double; and rounded to so many significant digits. */
#define MV_REAL_TEXT 32
void mv_real_print(double, char out[MV_REAL_TEXT]);
void mv_real_round(double, int digits, char out[MV_REAL_TEXT]);

/* Sets every field of the table from its fallback text; fields without fallback are zeroed. */
void mv_field_defaults(const struct mv_field *table, void *settings);

#endif
