/* text.c - paragraphs and rounded numbers for people: help texts, plans, progress. */
#include "metavar/text.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

void mv_text_wrap(FILE *out, int at, int indent, const char *text)
{
  fprintf(out, "%*s", at < indent ? indent - at : 0, "");
  int column = at < indent ? indent : at;
  bool fresh = true; /* nothing on this line yet */
  while (*text) {
    size_t blank = strspn(text, " "), word = strcspn(text + blank, " \n");
    bool wraps = !fresh && column + (int)(blank + word) > MV_TEXT_WIDTH;
    if (wraps) {
      fprintf(out, "\n%*s", indent, "");
      column = indent;
    }
    if (wraps || fresh) {
      text += blank;
      blank = 0;
    }
    fprintf(out, "%.*s", (int)(blank + word), text);
    column += (int)(blank + word);
    text += blank + word;
    fresh = false;
    if (*text == '\n') {
      text++;
      fprintf(out, "\n%*s", *text ? indent : 0, "");
      column = indent;
      fresh = true;
    }
  }
  if (!fresh) {
    fputc('\n', out);
  }
}

static const char *scaled(double x, double base, const char *const *units, int last, char *out)
{
  int unit = 0;
  while (unit < last && fabs(x) >= base) {
    x /= base;
    unit++;
  }
  snprintf(out, MV_TEXT_SHORT,
           unit == 0 || fabs(x) >= 100 ? "%.0f%s"
           : fabs(x) >= 10             ? "%.1f%s"
                                       : "%.2f%s",
           x, units[unit]);
  return out;
}

const char *mv_text_count(double count, char out[MV_TEXT_SHORT])
{
  static const char *const units[] = {"", " k", " M", " G", " T"};
  return scaled(count, 1000, units, 4, out);
}

const char *mv_text_bytes(double bytes, char out[MV_TEXT_SHORT])
{
  static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  return scaled(bytes, 1024, units, 4, out);
}

const char *mv_text_duration(double seconds, char out[MV_TEXT_SHORT])
{
  if (!(seconds < 1e9)) {
    snprintf(out, MV_TEXT_SHORT, "?");
  } else if (seconds < 90) {
    snprintf(out, MV_TEXT_SHORT, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
  } else if (seconds < 5400) {
    snprintf(out, MV_TEXT_SHORT, "%.0f min", seconds / 60);
  } else if (seconds < 172800) {
    int minutes = (int)(seconds / 60 + 0.5);
    snprintf(out, MV_TEXT_SHORT, "%d h %02d min", minutes / 60, minutes % 60);
  } else {
    snprintf(out, MV_TEXT_SHORT, "%.1f days", seconds / 86400);
  }
  return out;
}
