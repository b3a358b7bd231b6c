/* musl.c: what the static program has in the place of musl's.

   musl's regular expressions ask what kind of character one is, and of all of
   Unicode: 13 KB of tables. Without setlocale() a character is a byte, and
   those above 127 are of no kind and have no case. */

#include <ctype.h>
#include <wctype.h>

#if !defined(__GLIBC__)

int iswalpha(wint_t c)
{
    return c < 128 && isalpha((int)c);
}

int iswpunct(wint_t c)
{
    return c < 128 && ispunct((int)c);
}

wint_t towlower(wint_t c)
{
    return c < 128 ? (wint_t)tolower((int)c) : c;
}

wint_t towupper(wint_t c)
{
    return c < 128 ? (wint_t)toupper((int)c) : c;
}

#endif
