"""The words that an analyst's SQL may hold: functions, types and keywords of ClickHouse's dialect. All else is refused.

Left out are functions that read files, other servers, dictionaries or the server's own state, that wait, and that run
a function given by name.
"""

from __future__ import annotations

import re

_AGGREGATES = """
any anyLast any_value argMax argMin avg avgWeighted boundingRatio corr count countDistinct covarPop covarSamp
deltaSum deltaSumTimestamp entropy exponentialMovingAverage first_value groupArray groupArraySample groupUniqArray
histogram kurtPop kurtSamp last_value max maxMap mannWhitneyUTest median min minMap nth_value quantile
quantileDeterministic quantileExact quantileExactWeighted quantileInterpolatedWeighted quantileTDigest
quantileTDigestWeighted quantiles quantilesExact quantilesExactWeighted quantilesTDigest sequenceCount sequenceMatch
simpleLinearRegression skewPop skewSamp stddevPop stddevSamp studentTTest sum sumMap sumWithOverflow topK topKWeighted
uniq uniqCombined uniqExact uniqHLL12 varPop varSamp welchTTest windowFunnel
"""
_WINDOW = "cume_dist dense_rank lag lagInFrame lead leadInFrame ntile percent_rank rank row_number"
_NUMBERS = """
abs acos asin atan bitAnd bitOr bitXor bitTest cbrt ceil cos divide e erf erfc exp exp10 exp2 factorial floor gcd
greatest hypot intDiv intDivOrZero isFinite isInfinite isNaN ifNotFinite lcm least lgamma ln log log10 log2 max2 min2
minus mod modulo moduloOrZero multiply negate pi plus pow power round roundBankers roundDown sign sin sqrt tan tanh
tgamma trunc width_bucket
"""
_LOGIC = """
and assumeNotNull coalesce equals greaterOrEquals greater if ifNull ilike isNotNull isNull less lessOrEquals like
multiIf not notEquals notLike nullIf or toNullable xor
"""
_TEXT = """
base64Decode base64Encode concat concatWithSeparator countSubstrings empty endsWith extract extractAll
formatReadableQuantity formatReadableSize formatReadableTimeDelta left length lengthUTF8 lower lowerUTF8 match
multiSearchAny notEmpty position positionCaseInsensitive replace replaceAll replaceOne replaceRegexpAll
replaceRegexpOne reverse right splitByChar splitByRegexp splitByString startsWith substr substring substringUTF8
translate trim trimLeft trimRight upper upperUTF8 JSONExtractBool JSONExtractFloat JSONExtractInt JSONExtractString
JSONHas JSONLength isValidJSON cutQueryString domain path protocol topLevelDomain
cityHash64 hex sipHash64 xxHash64 unhex
"""
_TIME = """
addDays addHours addMinutes addMonths addSeconds addWeeks addYears age date date_add date_diff date_sub date_trunc
dateAdd dateDiff dateSub dateTrunc formatDateTime fromUnixTimestamp fromUnixTimestamp64Milli makeDate makeDateTime now
now64 parseDateTime parseDateTimeBestEffort parseDateTimeBestEffortOrNull subtractDays subtractHours subtractMinutes
subtractMonths subtractSeconds subtractWeeks subtractYears timeSlot toDayOfMonth toDayOfWeek toDayOfYear toHour
toISOWeek toISOYear toIntervalDay toIntervalHour toIntervalMinute toIntervalMonth toIntervalSecond toIntervalWeek
toIntervalYear toLastDayOfMonth toMinute toMonday toMonth toQuarter toRelativeDayNum toRelativeHourNum
toRelativeMinuteNum toRelativeWeekNum toSecond toStartOfDay toStartOfFifteenMinutes toStartOfFiveMinutes
toStartOfHour toStartOfInterval toStartOfMinute toStartOfMonth toStartOfQuarter toStartOfSecond toStartOfTenMinutes
toStartOfWeek toStartOfYear toTime toTimeZone toUnixTimestamp toUnixTimestamp64Milli toWeek toYYYYMM toYYYYMMDD
toYear today yesterday
"""
_CONVERSION = """
accurateCastOrNull cast toBool toDate toDate32 toDateOrNull toDateTime toDateTime64 toDateTimeOrNull toDecimal32
toDecimal64 toFloat32 toFloat64 toFloat64OrNull toFloat64OrZero toInt16 toInt32 toInt64 toInt64OrNull toInt64OrZero
toInt8 toString toTypeName toUInt16 toUInt32 toUInt64 toUInt64OrNull toUInt64OrZero toUInt8 toUUID
"""
_COLLECTIONS = """
array arrayAll arrayAvg arrayConcat arrayCount arrayCumSum arrayDifference arrayDistinct arrayElement arrayEnumerate
arrayExists arrayFilter arrayFirst arrayFlatten arrayIntersect arrayJoin arrayLast arrayMap arrayMax
arrayMin arrayPopBack arrayPopFront arrayProduct arrayPushBack arrayPushFront arrayReverse arrayReverseSort arraySlice
arraySort arrayStringConcat arraySum arrayUniq arrayZip grouping has hasAll hasAny indexOf map mapAdd mapApply
mapContains mapFilter mapFromArrays mapKeys mapSubtract mapValues range tuple tupleElement untuple
"""
_COMBINATORS = re.compile(r"(if|array|map|distinct|ornull|ordefault|foreach)+$")

FUNCTIONS = tuple(f"{_AGGREGATES} {_WINDOW} {_NUMBERS} {_LOGIC} {_TEXT} {_TIME} {_CONVERSION} {_COLLECTIONS}".split())
"""Names as ClickHouse spells them; case is not looked at."""
TABLE_FUNCTIONS = ("numbers",)
"""Functions that may stand where a table stands."""
TYPES = frozenset(
    """
    array bool boolean date date32 datetime datetime64 decimal decimal32 decimal64 fixedstring float32 float64 int16
    int32 int64 int8 lowcardinality map nullable string text tuple uint16 uint32 uint64 uint8 uuid
    """.split()  # noqa: SIM905
)
KEYWORDS = frozenset(
    """
    all and anti any array as asc asof between by case cross cube current day desc distinct else end escape except
    exists false fill final first following from full global group grouping having hour ilike in inner intersect
    interval is join last left like limit microsecond millisecond minute month not null nulls offset on or order outer
    over paste partition preceding prewhere qualify quarter range replace right rollup row rows second select semi sets
    staleness step then ties to totals true unbounded union using week when where window with year
    """.split()  # noqa: SIM905
)

_FUNCTIONS = frozenset(name.lower() for name in (*FUNCTIONS, *TABLE_FUNCTIONS))
_AGGREGATE_NAMES = frozenset(name.lower() for name in _AGGREGATES.split())


def is_callable(name: str) -> bool:
    """Whether a name may stand before a parenthesis: a function, an aggregate with combinators, a type, a keyword."""
    word = name.lower()
    return word in _FUNCTIONS or word in TYPES or word in KEYWORDS or _is_combined(word)


def _is_combined(word: str) -> bool:
    return any(
        word.startswith(name) and _COMBINATORS.fullmatch(word, len(name)) is not None for name in _AGGREGATE_NAMES
    )
