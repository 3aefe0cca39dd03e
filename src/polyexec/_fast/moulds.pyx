"""Copies of a record that differ in a few slots. Readable twin: ``_pure.moulds``."""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from types import MemberDescriptorType

cdef extern from "structmember.h":
    int T_OBJECT_EX
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member

cdef object NEW = object.__new__


@cython.final
@cython.auto_pickle(False)
cdef class Mould:
    """Makes copies of a record that differ in a few slots; see ``_pure.moulds``."""

    def __cinit__(self, record, *varying):
        self.kind = type(record)
        slots = self.kind.__slots__
        for name in varying:
            if name not in slots:
                raise ValueError(f"{self.kind.__name__} has no slot {name!r}")
        names = [name for name in slots if name not in varying]
        self.fixed = tuple([getattr(record, name) for name in names])
        names.extend(varying)
        if len(names) > MOST_SLOTS:
            raise ValueError(f"{self.kind.__name__} has more than {MOST_SLOTS} slots")
        for name in names:
            self.offsets[self.count] = offset_of(getattr(self.kind, name))
            self.count += 1

    def cast(self, *values):  # hot
        """Return a copy with these values in the varying slots, in order."""
        cdef Py_ssize_t index, fixed = len(self.fixed)
        cdef object record
        if fixed + len(values) != self.count:
            raise ValueError(f"values must be {self.count - fixed}, not {len(values)}")
        record = NEW(self.kind)
        for index in range(fixed):
            put(record, self.offsets[index], self.fixed[index])
        for index in range(fixed, self.count):
            put(record, self.offsets[index], values[index - fixed])
        return record

    def __reduce__(self):
        raise TypeError("cannot pickle or copy a mould: take one from the record")


cdef inline void put(object record, Py_ssize_t offset, object value) noexcept:  # hot
    # The record is new, so nothing is in the slot.
    Py_INCREF(value)
    (<PyObject**>(<char*><PyObject*>record + offset))[0] = <PyObject*>value


cdef Py_ssize_t offset_of(object slot) except -1:
    cdef PyMemberDef* member
    if type(slot) is not MemberDescriptorType:
        raise TypeError(f"{slot!r} is not a slot")
    member = (<PyMemberDescrObject*>slot).d_member
    if member.type != T_OBJECT_EX:
        raise TypeError(f"{slot!r} does not hold an object")
    return member.offset
