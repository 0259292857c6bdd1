"""Metadata filters: a sentence like ``category = "dress" AND price < 50`` becomes SQL, and SQL becomes row sets.

``compile.compile_filter`` is the door in, ``rowsets.RowSets`` keeps the answers; ``grammar`` reads the text and
``tree`` says what it means. docs/filters.md is the same for users.

The language follows https://google.aip.dev/160 where that leaves no doubt about what is meant:

- Every condition is true or false, never unknown. A comparison with a field that is missing, or that holds another
  type, is false. ``NOT`` and ``-`` turn that round, and ``a != 1`` is ``NOT a = 1`` (AIP-160: true unless equal). So
  ``NOT price < 50`` and ``price != 50`` both find the items without a price; ``price:* AND price != 50`` does not.
- Numbers compare with numbers (integers of any size up to 64 bits exactly, 3 equals 3.0), texts with texts (by code
  point, no case folding, no normalisation), ``true``, ``false`` and ``null`` with themselves. ``true`` is not 1 and
  ``null`` is not a missing field. Only numbers and texts have an order; ``a < true`` is malformed.
- ``a:x`` is true of a list that has the element x, of an object that has the key x (a text), and of a value equal
  to x. ``a:*`` is true where the field is there, null included. ``a = x`` is never true of a list or an object.
- Dots step through objects, not into the elements of lists.
- Two conditions side by side mean ``AND``. The grammar stays unambiguous because a condition always has an operator,
  and texts always have quotes: AIP-160's bare words, which match any field, and its ``*`` inside texts are left out.
- ``AND`` and ``OR`` side by side need parentheses. AIP-160 lets ``OR`` bind tighter and would not ask for them, SQL
  lets ``AND``; whichever we took, somebody's search would quietly answer another question. Refusing can be relaxed
  later, neither of the others can be taken back.
"""
