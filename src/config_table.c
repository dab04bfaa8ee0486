/* config_table.c - a mapping of the document against field tables: values, defaults, missing keys, unknown keys. */
#include "config.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

static void field_default(const struct mv_field *f, void *settings)
{
  struct mv_config c = {.name = f->name};
  struct mv_node *node = mv_yaml_parse(&c, f->fallback, strlen(f->fallback), NULL);
  bool empty_name = node && f->kind == MV_NAME && node->quoted && !*node->text;
  if (empty_name) {
    *((char *)settings + f->offset) = '\0';
  } else if (!node || !mv_value_read(&c, f, node, settings)) {
    mv_error_print(&c, stderr);
    assert(!"the default of a field is a valid value of it");
  }
  mv_config_free(&c);
}

static size_t member_size(enum mv_kind kind)
{
  static const size_t size[] = {[MV_INT] = sizeof(int64_t),
                                [MV_SEED] = sizeof(uint64_t),
                                [MV_REAL] = sizeof(double),
                                [MV_BOOL] = sizeof(bool),
                                [MV_CHOICE] = sizeof(int),
                                [MV_NAME] = MV_NAME_MAX + 1,
                                [MV_INT_LIST] = sizeof(struct mv_ints),
                                [MV_REAL_LIST] = sizeof(struct mv_reals),
                                [MV_CHOICE_LIST] = sizeof(struct mv_choices)};
  return size[kind];
}

void mv_field_defaults(const struct mv_field *table, void *settings)
{
  for (const struct mv_field *f = table; f->name; f++) {
    memset((char *)settings + f->offset, 0, member_size(f->kind));
    if (f->fallback) {
      field_default(f, settings);
    }
  }
}

bool mv_table_read(struct mv_config *c, struct mv_node *map, const char *where, const struct mv_field *table,
                   void *settings, mv_value_skip *skip)
{
  bool usable = true;
  for (const struct mv_field *f = table; f->name; f++) {
    struct mv_node *node = mv_node_get(map, f->name);
    if (!node && !f->fallback) {
      mv_error_at(c, map->place, f->name, "missing in %s; add it: %s", where, f->doc);
      usable = false;
    } else if (node && !(skip && skip(f, node)) && !mv_value_read(c, f, node, settings)) {
      if (f->fallback) {
        field_default(f, settings); /* so that other settings can still be checked against this one */
      }
      usable = usable && f->fallback;
    }
  }
  return usable;
}

void mv_keys_check(struct mv_config *c, struct mv_node *map, const char *where, const struct mv_field *a,
                   const struct mv_field *b, const char *const *words)
{
  const char *known[4 * MV_LIST_MAX];
  int count = 0;
  for (; *words; words++) {
    known[count++] = *words;
  }
  for (int i = 0; i < 2; i++) {
    for (const struct mv_field *f = i ? b : a; f && f->name; f++) {
      assert(count < 4 * MV_LIST_MAX);
      known[count++] = f->name;
    }
  }
  for (struct mv_node *n = map->first; n; n = n->next) {
    bool found = false;
    for (int i = 0; i < count && !found; i++) {
      found = strcmp(n->key->text, known[i]) == 0;
    }
    if (!found) {
      char hint[MV_HINT_MAX];
      mv_error_node(c, n->key, NULL, "unknown key \"%.64s\" in %s%s", n->key->text, where,
                    mv_hint_make(hint, n->key->text, known, count, false));
    }
  }
}

void mv_complain(struct mv_complaints *to, const char *key, const char *format, ...)
{
  struct mv_node *node = key ? mv_node_get(to->map, key) : NULL;
  to->count++;
  if (node && node->bad) {
    return;
  }
  va_list list;
  va_start(list, format);
  mv_error_list(to->config, node ? node->place : to->map->place, key, format, list);
  va_end(list);
}
