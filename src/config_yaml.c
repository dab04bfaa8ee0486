/* config_yaml.c - bytes to a tree of nodes, through libyaml's events.
 *
 * A tree of our own, because libyaml's documents cannot be edited by --set and expand aliases. A job file is plain
 * data: anchors, aliases, tags and second documents are refused, and so are duplicate keys, which YAML forbids and
 * libyaml lets pass. Lines and columns count from 1, columns in characters.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct mv_node *mv_node_make(struct mv_config *c, enum mv_node_kind kind, struct mv_place place, const char *text,
                             size_t length)
{
  struct mv_node *node = mv_config_alloc(sizeof *node + length + 1);
  node->kind = kind;
  node->place = place;
  if (text) {
    memcpy(node->text, text, length);
  }
  node->older = c->nodes;
  c->nodes = node;
  return node;
}

void mv_config_free(struct mv_config *c)
{
  while (c->nodes) {
    struct mv_node *older = c->nodes->older;
    free(c->nodes);
    c->nodes = older;
  }
  for (int i = 0; i < c->error_count; i++) {
    free(c->error[i].text);
  }
  c->error_count = 0;
}

void mv_node_append(struct mv_node *parent, struct mv_node *key, struct mv_node *child)
{
  child->key = key;
  if (parent->last) {
    parent->last->next = child;
  } else {
    parent->first = child;
  }
  parent->last = child;
  parent->count++;
}

struct mv_node *mv_node_get(const struct mv_node *map, const char *key)
{
  if (map->kind != MV_MAP) {
    return NULL;
  }
  struct mv_node *n = map->first;
  while (n && strcmp(n->key->text, key) != 0) {
    n = n->next;
  }
  return n;
}

struct mv_node *mv_node_item(const struct mv_node *parent, int64_t index)
{
  struct mv_node *n = parent->first;
  while (n && index > 0) {
    n = n->next;
    index--;
  }
  return n;
}

const char *mv_node_kind_name(const struct mv_node *n)
{
  return n->kind == MV_LIST ? "a list" : n->kind == MV_MAP ? "a mapping" : *n->text ? "a single value" : "empty";
}

struct builder {
  struct mv_config *config;
  yaml_parser_t parser;
  const char *text, *origin;
  size_t length;
};

static struct mv_place place_of(const struct builder *b, yaml_mark_t mark)
{
  return (struct mv_place){(int)mark.line + 1, (int)mark.column + 1, b->origin};
}

static void step_place(struct mv_place *p, char byte)
{
  if (byte == '\n') {
    p->line++;
    p->column = 1;
  } else {
    p->column += ((unsigned char)byte & 0xc0) != 0x80; /* not the middle of a UTF-8 character */
  }
}

/* Line and column of a byte. */
static struct mv_place place_of_byte(const struct builder *b, size_t offset)
{
  struct mv_place p = {1, 1, b->origin};
  for (size_t i = 0; i < offset && i < b->length; i++) {
    step_place(&p, b->text[i]);
  }
  return p;
}

static char byte_at(const struct builder *b, struct mv_place place)
{
  struct mv_place p = {1, 1, NULL};
  size_t i = 0;
  for (; i < b->length && (p.line < place.line || (p.line == place.line && p.column < place.column)); i++) {
    step_place(&p, b->text[i]);
  }
  return i < b->length ? b->text[i] : '\0';
}

static void report_syntax(struct builder *b)
{
  yaml_parser_t *p = &b->parser;
  const char *problem = p->problem ? p->problem : "cannot be read";
  if (p->error == YAML_READER_ERROR) {
    mv_error_at(b->config, place_of_byte(b, p->problem_offset), NULL, "%s; save the file as plain UTF-8 text", problem);
    return;
  }
  struct mv_place place = place_of(b, p->problem_mark);
  if (p->error == YAML_SCANNER_ERROR && byte_at(b, place) == '\t') {
    mv_error_at(b->config, place, NULL, "a tab where YAML wants spaces; indent with spaces");
  } else if (p->context && !b->origin) {
    mv_error_at(b->config, place, NULL, "%s, %s that began at line %d; check indentation, colons, quotes and brackets",
                problem, p->context, (int)p->context_mark.line + 1);
  } else {
    mv_error_at(b->config, place, NULL, "%s; check indentation, colons, quotes and brackets", problem);
  }
}

static bool next_event(struct builder *b, yaml_event_t *event)
{
  if (yaml_parser_parse(&b->parser, event)) {
    return true;
  }
  report_syntax(b);
  return false;
}

static void refuse_extras(struct builder *b, struct mv_node *node, const yaml_char_t *anchor, const yaml_char_t *tag)
{
  if (anchor) {
    mv_error_node(b->config, node, NULL, "an anchor (&%.40s); anchors are not used here, remove it",
                  (const char *)anchor);
  } else if (tag) {
    mv_error_node(b->config, node, NULL, "a tag (%.40s); tags are not used here, remove it", (const char *)tag);
  }
}

static struct mv_node *build(struct builder *, yaml_event_t *, int depth);

static struct mv_node *build_scalar(struct builder *b, const yaml_event_t *event)
{
  const char *text = (const char *)event->data.scalar.value;
  size_t length = event->data.scalar.length;
  struct mv_node *node = mv_node_make(b->config, MV_SCALAR, place_of(b, event->start_mark), text, length);
  node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
  refuse_extras(b, node, event->data.scalar.anchor, event->data.scalar.tag);
  if (strlen(node->text) != length) {
    mv_error_node(b->config, node, NULL, "a NUL character in a text; remove it");
  }
  return node;
}

/* One value of a mapping, whose key has been read. */
static bool build_pair(struct builder *b, struct mv_node *map, struct mv_node *key, int depth)
{
  yaml_event_t event;
  if (!next_event(b, &event)) {
    return false;
  }
  struct mv_node *value = build(b, &event, depth);
  yaml_event_delete(&event);
  if (!value) {
    return false;
  }
  struct mv_node *first;
  if (key->kind != MV_SCALAR) {
    mv_error_node(b->config, key, NULL, "a key must be a single word, not %s", mv_node_kind_name(key));
  } else if ((first = mv_node_get(map, key->text))) {
    mv_error_node(b->config, key, NULL, "duplicate key \"%.64s\", first given at line %d; remove one of them",
                  key->text, first->key->place.line);
  } else if (map->count == MV_KEYS_MAX) {
    mv_error_node(b->config, key, NULL, "more than %d keys in one mapping", MV_KEYS_MAX);
    return false;
  } else {
    mv_node_append(map, key, value);
  }
  return true;
}

/* A list or a mapping, up to its end event. */
static struct mv_node *build_collection(struct builder *b, const yaml_event_t *start, int depth)
{
  bool list = start->type == YAML_SEQUENCE_START_EVENT;
  struct mv_node *node = mv_node_make(b->config, list ? MV_LIST : MV_MAP, place_of(b, start->start_mark), NULL, 0);
  if (list) {
    refuse_extras(b, node, start->data.sequence_start.anchor, start->data.sequence_start.tag);
  } else {
    refuse_extras(b, node, start->data.mapping_start.anchor, start->data.mapping_start.tag);
  }
  if (depth == MV_DEPTH_MAX) {
    mv_error_at(b->config, node->place, NULL, "nested deeper than %d levels; a job needs about four", MV_DEPTH_MAX);
    return NULL;
  }
  for (;;) {
    yaml_event_t event;
    if (!next_event(b, &event)) {
      return NULL;
    }
    bool end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
    struct mv_node *child = end ? NULL : build(b, &event, depth + 1);
    yaml_event_delete(&event);
    if (end) {
      return node;
    }
    if (!child || (!list && !build_pair(b, node, child, depth + 1))) {
      return NULL;
    }
    if (list) {
      mv_node_append(node, NULL, child);
    }
  }
}

static struct mv_node *build(struct builder *b, yaml_event_t *event, int depth)
{
  if (event->type == YAML_SCALAR_EVENT) {
    return build_scalar(b, event);
  }
  if (event->type == YAML_ALIAS_EVENT) {
    struct mv_node *node = mv_node_make(b->config, MV_SCALAR, place_of(b, event->start_mark), NULL, 0);
    mv_error_node(b->config, node, NULL, "an alias (*%.40s); aliases are not used here, write the value out",
                  (const char *)event->data.alias.anchor);
    return node;
  }
  return build_collection(b, event, depth);
}

/* The only document of the stream. */
static struct mv_node *build_stream(struct builder *b)
{
  struct mv_node *root = NULL;
  for (;;) {
    yaml_event_t event;
    if (!next_event(b, &event)) {
      return NULL;
    }
    yaml_event_type_t type = event.type;
    struct mv_place place = place_of(b, event.start_mark);
    bool content = type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                   type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT;
    bool second = type == YAML_DOCUMENT_START_EVENT && root;
    struct mv_node *node = content ? build(b, &event, 0) : NULL;
    yaml_event_delete(&event);
    if (content && !node) {
      return NULL;
    }
    root = content ? node : root;
    if (second) {
      mv_error_at(b->config, place, NULL, "a second document; keep one job in one file");
      return root;
    }
    if (type == YAML_STREAM_END_EVENT) {
      return root;
    }
  }
}

/* Bytes that are no job whatever follows. */
static bool refuse_bytes(struct builder *b)
{
  const char *nul = memchr(b->text, '\0', b->length), *cr = memchr(b->text, '\r', b->length);
  if (b->length > MV_JOB_TEXT_MAX) {
    mv_error_at(b->config, (struct mv_place){0, 0, b->origin}, NULL, "is larger than %d MiB", MV_JOB_TEXT_MAX >> 20);
  } else if (nul) {
    mv_error_at(b->config, (struct mv_place){0, 0, b->origin}, NULL,
                "is a binary file (or UTF-16), not a job; give the YAML text, as UTF-8");
  } else if (cr) {
    mv_error_at(b->config, place_of_byte(b, (size_t)(cr - b->text)), NULL,
                "the line ends as in Windows (CR LF); convert the file: sed -i 's/\\r$//' FILE");
  }
  return b->length > MV_JOB_TEXT_MAX || nul || cr;
}

struct mv_node *mv_yaml_parse(struct mv_config *c, const char *text, size_t length, const char *origin)
{
  struct builder b = {.config = c, .text = text, .length = length, .origin = origin};
  if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark says nothing in UTF-8 */
    b.text += 3;
    b.length -= 3;
  }
  if (b.length && refuse_bytes(&b)) {
    return NULL;
  }
  int errors = c->error_count + c->error_more;
  if (!yaml_parser_initialize(&b.parser)) {
    abort(); /* memory */
  }
  yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&b.parser, (const unsigned char *)b.text, b.length);
  struct mv_node *root = build_stream(&b);
  yaml_parser_delete(&b.parser);
  if (!root && c->error_count + c->error_more == errors) {
    mv_error_at(c, (struct mv_place){0, 0, origin}, NULL,
                origin ? "no value is given; write one after the ="
                       : "is empty; see jobs/README.md for what a job holds");
  }
  return root;
}
