package pickle

import (
	"errors"
	"fmt"
	"slices"
)

// stepContainer executes the opcodes that make and fill tuples, lists, sets and dicts.
func (m *machine) stepContainer(op byte) (handled bool, err error) {
	switch op {
	case opEmptyTuple:
		return true, m.pushNew(Tuple{}, costScalar)
	case opTuple1, opTuple2, opTuple3:
		return true, m.smallTuple(int(op-opTuple1) + 1)
	case opTuple:
		items, err := m.popMark()
		if err != nil {
			return true, err
		}
		return true, m.pushNew(Tuple(slices.Clone(items)), costList+costSlot*len(items))
	case opEmptyList, opEmptySet:
		return true, m.pushNew(&List{}, costList)
	case opList, opFrozenSet:
		items, err := m.popMark()
		if err != nil {
			return true, err
		}
		return true, m.pushNew(&List{Items: slices.Clone(items)}, costList+costSlot*len(items))
	case opAppend:
		v, err := m.pop()
		if err != nil {
			return true, err
		}
		return true, m.extend([]any{v})
	case opAppends, opAddItems:
		items, err := m.popMark()
		if err != nil {
			return true, err
		}
		return true, m.extend(items)
	case opEmptyDict:
		return true, m.pushNew(&Dict{}, costDict)
	case opDict:
		items, err := m.popMark()
		if err != nil {
			return true, err
		}
		d := &Dict{}
		if err := m.setEntries(d, items); err != nil {
			return true, err
		}
		return true, m.pushNew(d, costDict)
	case opSetItem:
		value, err := m.pop()
		if err != nil {
			return true, err
		}
		key, err := m.pop()
		if err != nil {
			return true, err
		}
		return true, m.fill([]any{key, value})
	case opSetItems:
		items, err := m.popMark()
		if err != nil {
			return true, err
		}
		return true, m.fill(items)
	}
	return false, nil
}

func (m *machine) smallTuple(n int) error {
	if len(m.stack)-m.base() < n {
		return errors.New("stack is empty")
	}
	at := len(m.stack) - n
	t := Tuple(slices.Clone(m.stack[at:]))
	m.stack = m.stack[:at]
	return m.pushNew(t, costList+costSlot*n)
}

// extend appends items to the list, set or unknown object on top of the stack.
func (m *machine) extend(items []any) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	if err := m.charge(costSlot * len(items)); err != nil {
		return err
	}
	switch t := target.(type) {
	case *List:
		t.Items = append(t.Items, items...)
	case *Object:
		t.Items = append(t.Items, items...)
	default:
		return fmt.Errorf("cannot append to a %s", TypeName(target))
	}
	return nil
}

// fill sets keys and values, in turn, in the dict or unknown object on top of the stack.
func (m *machine) fill(items []any) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *Dict:
		return m.setEntries(t, items)
	case *Object:
		if t.Entries == nil {
			t.Entries = &Dict{}
		}
		return m.setEntries(t.Entries, items)
	}
	return fmt.Errorf("cannot set items of a %s", TypeName(target))
}

func (m *machine) setEntries(d *Dict, items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key has no value")
	}
	for i := 0; i < len(items); i += 2 {
		h, err := hashable(items[i])
		if err != nil {
			return err
		}
		if err := m.charge(costEntry + keyLen(h)); err != nil {
			return err
		}
		d.set(h, items[i], items[i+1])
	}
	return nil
}
