/* part.c - a part of a panel: half of its groups, some of its settings. Groups are independent, so what is fitted on the
 * one half is judged without favour on the other. */
#include "metavar/budget.h"
#include "metavar/memory.h"

static struct mv_sheet make_sheet(const struct mv_sheet *whole, int setting, int parity)
{
  struct mv_sheet part = {.groups = whole->groups, .first = whole->first};
  const int groups = whole->groups.groups, meta = whole->groups.meta;
  part.groups.count = mv_memory_take((size_t)groups, sizeof *part.groups.count);
  for (int g = 0; g < groups; g++)
    part.groups.count[g] = parity < 0 || (whole->first + g) % 2 == parity ? whole->groups.count[g] : 0;
  if (setting >= 0) {
    part.groups.settings = 1;
    part.groups.mean += (int64_t)setting * groups * meta;
    part.groups.square += (int64_t)setting * groups * meta;
  }
  return part;
}

struct mv_panel mv_panel_part(const struct mv_panel *whole, int count, const struct mv_term *pick, int parity)
{
  struct mv_panel part = {.meta = whole->meta, .entries = pick ? count : whole->entries, .groups = whole->groups};
  part.sheet = mv_memory_take((size_t)part.entries, sizeof *part.sheet);
  for (int e = 0; e < part.entries; e++)
    part.sheet[e] = make_sheet(&whole->sheet[pick ? pick[e].entry : e], pick ? pick[e].setting : -1, parity);
  return part;
}

void mv_panel_part_free(struct mv_panel *p)
{
  for (int e = 0; e < p->entries; e++) /* the rest of the groups belongs to the panel */
    p->sheet[e].groups = (struct mv_groups){.count = p->sheet[e].groups.count};
  mv_panel_free(p);
}
