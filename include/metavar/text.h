/* text.h - paragraphs for people. */
#ifndef METAVAR_TEXT_H
#define METAVAR_TEXT_H

#include <stdio.h>

#define MV_TEXT_WIDTH 100

/* Prints text wrapped to MV_TEXT_WIDTH columns. The cursor stands in column `at`; further lines are indented by
 * `indent`. Ends with a newline. Line breaks in the text stay. */
void mv_text_wrap(FILE *, int at, int indent, const char *text);

/* 1234567 as "1.23 M", bytes as "1.23 MiB", seconds as "1 h 02 min": for people, never for parsing. */
#define MV_TEXT_SHORT 32
const char *mv_text_count(double count, char out[MV_TEXT_SHORT]);
const char *mv_text_bytes(double bytes, char out[MV_TEXT_SHORT]);
const char *mv_text_duration(double seconds, char out[MV_TEXT_SHORT]);

#endif
