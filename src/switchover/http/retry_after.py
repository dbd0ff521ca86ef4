"""When a server wants to be asked again (RFC 9110 §10.2.3)."""

from __future__ import annotations

import re
from datetime import date

from switchover.http.messages import Response

__all__ = ["parse_date", "retry_after"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH = r"(?P<month>[A-Za-z]{3})"
# RFC 9110 §5.6.7: "Recipients of timestamp values are … MUST accept all three" forms:
#   IMF-fixdate  = day-name "," SP 2DIGIT SP month SP 4DIGIT SP time-of-day SP GMT
#   rfc850-date  = day-name-l "," SP 2DIGIT "-" month "-" 2DIGIT SP time-of-day SP GMT
#   asctime-date = day-name SP month SP ( 2DIGIT / ( SP DIGIT ) ) SP time-of-day SP 4DIGIT
_DATES = [
    re.compile(rf"[A-Za-z]{{3}}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Za-z]{{6,9}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT"),
    re.compile(rf"[A-Za-z]{{3}} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})"),
]


def retry_after(response: Response) -> float | None:
    """Return how many seconds to wait before asking again; ``None`` if it is not said.

    A date is counted from the response's own Date, so it does not matter whether our clock
    and the server's agree.
    """
    # RFC 9110 §10.2.3: "Retry-After = HTTP-date / delay-seconds"
    value = response.fields.get("retry-after")
    if value is None:
        return None
    if re.fullmatch("[0-9]{1,12}", value):
        return float(value)
    then, now = parse_date(value), parse_date(response.fields.get("date") or "")
    return None if then is None or now is None else max(0.0, then - now)


def parse_date(value: str) -> float | None:
    """Return an HTTP-date as seconds (whose origin means nothing); ``None`` if it is none."""
    for form in _DATES:
        if found := form.fullmatch(value):
            break
    else:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        # No server of this century sends this form about the other.
        year += 2000
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    if hour > 23 or minute > 59 or second > 60:
        return None
    try:
        days = date(year, _MONTHS.index(found["month"].lower()) + 1, int(found["day"])).toordinal()
    except ValueError:
        return None
    return float(((days * 24 + hour) * 60 + minute) * 60 + second)
