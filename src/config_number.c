/* config_number.c - text to number, strictly.
 *
 * strtod alone reads "0.1abc" as 0.1, "0x10" as 16 and "nan" as a number, and an octal-minded reader makes 8 of
 * "010". Here the whole text must be a decimal number
 *     [-+] (digits [. digits] | . digits) [e [-+] digits]      without leading zeros
 * and everything else is refused with the reason. Integers may be written with a point or an exponent (1e6) if their
 * value is a whole number; they are computed from the digits, not through a double, so 2^64 - 1 is exact.
 */
#define _GNU_SOURCE
#include "config.h"
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where the parts of a decimal number lie. */
struct decimal {
  bool negative;
  const char *whole, *fraction; /* digits */
  int whole_length, fraction_length;
  long exponent; /* clamped to +-1000000 */
};

static int digits_at(const char *p)
{
  int count = 0;
  while (isdigit((unsigned char)p[count])) {
    count++;
  }
  return count;
}

/* Why the number does not end where it should. */
static const char *fault_of_rest(const char *p, bool any_digit)
{
  if (!any_digit) {
    return "is not a number; write it like 3, 0.1 or 1e-3";
  }
  if (*p == '_') {
    return "has an underscore; write the digits without it";
  }
  if (*p == ',') {
    return "has a comma; write a decimal point, and no separator of thousands";
  }
  if (strchr("kKmMgGtT", *p) && p[1] == '\0') {
    return "has a suffix; write the number out, like 40000 or 4e4";
  }
  return "is not a number: there is something else after the digits; write it like 3, 0.1 or 1e-3";
}

static const char *fault_of_start(const char *p)
{
  const char *word = *p == '.' ? p + 1 : p;
  if (strcasecmp(word, "nan") == 0 || strcasecmp(word, "inf") == 0 || strcasecmp(word, "infinity") == 0) {
    return "is not finite; give a finite number";
  }
  if (p[0] == '0' && p[1] && strchr("xXoObB", p[1])) {
    return "is not decimal; write decimal digits";
  }
  if (p[0] == '0' && isdigit((unsigned char)p[1])) {
    return "has a leading zero, which some programs read as octal; write it without";
  }
  return NULL;
}

static const char *scan(const char *text, struct decimal *d)
{
  const char *p = text;
  *d = (struct decimal){.negative = *p == '-'};
  if (*p == '\0') {
    return "no value is given; write one after the colon";
  }
  p += *p == '-' || *p == '+';
  const char *fault = fault_of_start(p);
  if (fault) {
    return fault;
  }
  d->whole = p;
  d->whole_length = digits_at(p);
  p += d->whole_length;
  if (*p == '.') {
    d->fraction = ++p;
    d->fraction_length = digits_at(p);
    p += d->fraction_length;
  }
  bool any = d->whole_length + d->fraction_length > 0;
  if (any && (*p == 'e' || *p == 'E')) {
    bool minus = p[1] == '-';
    const char *digits = p + 1 + (minus || p[1] == '+');
    int count = digits_at(digits);
    if (count) {
      for (int i = 0; i < count && d->exponent < 1000000; i++) {
        d->exponent = 10 * d->exponent + (digits[i] - '0');
      }
      d->exponent = minus ? -d->exponent : d->exponent;
      p = digits + count;
    }
  }
  return !any || *p ? fault_of_rest(p, any) : NULL;
}

static int digit(const struct decimal *d, int i)
{
  return (i < d->whole_length ? d->whole[i] : d->fraction[i - d->whole_length]) - '0';
}

const char *mv_number_read(const char *text, double *out)
{
  struct decimal d;
  const char *fault = scan(text, &d);
  if (fault) {
    return fault;
  }
  locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(plain);
  double value = strtod(text, NULL);
  uselocale(before);
  freelocale(plain);
  if (!isfinite(value)) {
    return "is too large; the largest number is about 1.8e308";
  }
  for (int i = 0; value == 0 && i < d.whole_length + d.fraction_length; i++) {
    if (digit(&d, i)) {
      return "is too small to differ from 0; write 0, or at least 4.95e-324";
    }
  }
  *out = value == 0 ? 0.0 : value;
  return NULL;
}

const char *mv_integer_read(const char *text, bool *negative, uint64_t *magnitude)
{
  struct decimal d;
  const char *fault = scan(text, &d);
  if (fault) {
    return fault;
  }
  long point = d.whole_length + d.exponent; /* digits left of the decimal point */
  int count = d.whole_length + d.fraction_length;
  uint64_t value = 0;
  for (long i = 0; i < count || (i < point && value); i++) {
    uint64_t next = i < count ? (uint64_t)digit(&d, (int)i) : 0;
    if (i >= point) {
      if (next) {
        return "is not a whole number; give an integer";
      }
    } else if (value > (UINT64_MAX - next) / 10) {
      return "is too large; the largest integer is 18446744073709551615 (2^64 - 1)";
    } else {
      value = 10 * value + next;
    }
  }
  *negative = d.negative && value;
  *magnitude = value;
  return NULL;
}
