/* config_override.c - "--set path=value", applied to the tree before anything is checked.
 *
 * A path goes through mappings by key and through lists by index (from 0) or, in the list of estimators, by label or
 * name: estimators.es.sigma=0.2; `*` is every item. Labels may contain dots, so the longest label that fits is taken.
 * The value is read as YAML. A last key that is not there is added: whether it is a valid one is found out later, like
 * for keys of the file. Everything that comes from here carries the path as its place in messages.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct override {
  struct mv_config *config;
  struct mv_place place;
  const char *value; /* YAML */
};

/* Length of the item's label or name if the path starts with it, else 0. */
static size_t match(const struct mv_node *item, const char *word, const char *path)
{
  const struct mv_node *n = mv_node_get(item, word);
  size_t length = n && n->kind == MV_SCALAR ? strlen(n->text) : 0;
  bool fits = length && strncmp(path, n->text, length) == 0 && (path[length] == '.' || path[length] == '\0');
  return fits ? length : 0;
}

/* The item that the path names, by `word`; NULL if none does. Sets *length, and *ties to the number of equally good
 * ones. */
static struct mv_node *best_match(const struct mv_node *list, const char *word, const char *path, size_t *length,
                                  int *ties)
{
  struct mv_node *best = NULL;
  *length = 0;
  for (struct mv_node *n = list->first; n; n = n->next) {
    size_t fit = match(n, word, path);
    *ties = fit > *length ? 1 : *ties + (fit && fit == *length);
    if (fit > *length) {
      best = n;
      *length = fit;
    }
  }
  return best;
}

static struct mv_node *step_list(const struct override *o, const struct mv_node *list, const char *path, size_t *length)
{
  size_t word = strcspn(path, ".");
  if (word && strspn(path, "0123456789") == word) {
    struct mv_node *item = word < 10 ? mv_node_item(list, atol(path)) : NULL;
    if (!item) {
      mv_error_at(o->config, o->place, NULL, "no item %.*s in a list of %d; the first is 0", (int)word, path,
                  list->count);
    }
    *length = word;
    return item;
  }
  int ties = 0;
  struct mv_node *item = best_match(list, "label", path, length, &ties);
  if (!item) {
    item = best_match(list, "name", path, length, &ties);
  }
  if (ties > 1) {
    mv_error_at(o->config, o->place, NULL, "%d items are called \"%.*s\"; give the label or the index (the first is 0)",
                ties, (int)*length, path);
    return NULL;
  }
  if (!item) {
    mv_error_at(o->config, o->place, NULL,
                "no item is labelled or named \"%.*s\"; give a label, a name or an index from 0",
                (int)(word > 64 ? 64 : word), path);
  }
  return item;
}

static struct mv_node *step_map(const struct override *o, const struct mv_node *map, const char *path, size_t *length)
{
  const char *words[MV_KEYS_MAX];
  char key[MV_NAME_MAX + 1], hint[MV_HINT_MAX];
  int count = 0;
  *length = strcspn(path, ".");
  for (struct mv_node *n = map->first; n; n = n->next) {
    if (strlen(n->key->text) == *length && strncmp(n->key->text, path, *length) == 0) {
      return n;
    }
    words[count++] = n->key->text;
  }
  if (path[*length]) {
    snprintf(key, sizeof key, "%.*s", (int)*length, path);
    mv_error_at(o->config, o->place, NULL, "no key \"%s\" to go through%s", key,
                mv_hint_make(hint, key, words, count, false));
  }
  return NULL;
}

/* Puts value in the place of old, in the same parent. */
static void replace(struct mv_node *parent, struct mv_node *old, struct mv_node *value)
{
  struct mv_node **link = &parent->first;
  while (*link != old) {
    link = &(*link)->next;
  }
  *link = value;
  value->next = old->next;
  value->key = old->key;
  if (parent->last == old) {
    parent->last = value;
  }
}

static void assign(const struct override *o, struct mv_node *at, const char *path)
{
  for (;;) {
    size_t length = 0;
    if (at->kind == MV_LIST && strncmp(path, "*.", 2) == 0) {
      for (struct mv_node *item = at->first; item; item = item->next) {
        assign(o, item, path + 2);
      }
      return;
    }
    if (at->kind == MV_SCALAR) {
      mv_error_at(o->config, o->place, NULL, "goes into %s; stop the path before \"%.64s\"", mv_node_kind_name(at),
                  path);
      return;
    }
    struct mv_node *child = at->kind == MV_LIST ? step_list(o, at, path, &length) : step_map(o, at, path, &length);
    bool last = path[length] == '\0';
    struct mv_node *value = last ? mv_yaml_parse(o->config, o->value, strlen(o->value), o->place.origin) : NULL;
    if (last && !value) {
      return; /* told */
    }
    if (child && last) {
      replace(at, child, value);
    } else if (last && at->kind == MV_MAP && at->count < MV_KEYS_MAX) {
      mv_node_append(at, mv_node_make(o->config, MV_SCALAR, o->place, path, length), value);
    } else if (last && at->kind == MV_MAP) {
      mv_error_at(o->config, o->place, NULL, "more than %d keys in one mapping", MV_KEYS_MAX);
    }
    if (!child || last) {
      return;
    }
    at = child;
    path += length + 1;
  }
}

void mv_override_apply(struct mv_config *c, struct mv_node *root, const char *override)
{
  const char *equals = strchr(override, '=');
  size_t length = equals ? (size_t)(equals - override) : strlen(override);
  /* The words "--set path" live as long as the tree: they are a node of it. */
  struct mv_node *words = mv_node_make(c, MV_SCALAR, (struct mv_place){0}, NULL, length + sizeof "--set ");
  snprintf(words->text, length + sizeof "--set ", "--set %.*s", (int)length, override);
  struct override o = {c, {0, 0, words->text}, equals ? equals + 1 : ""};
  char path[1024];
  snprintf(path, sizeof path, "%.*s", (int)length, override);
  if (!equals || length == 0 || length >= sizeof path || path[0] == '.' || path[length - 1] == '.' ||
      strstr(path, "..")) {
    mv_error_at(c, o.place, NULL, "is not of the form path=value; write it like --set estimators.es.sigma=0.2");
    return;
  }
  assign(&o, root, path);
}
