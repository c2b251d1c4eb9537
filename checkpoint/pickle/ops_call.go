package pickle

import (
	"errors"
	"fmt"
	"slices"
)

// stepCall executes the opcodes with which a pickle names, makes and fills instances. None of them runs anything: a
// name stays a name, and a call becomes data unless Config.Call knows the name.
func (m *machine) stepCall(op byte) (handled bool, err error) {
	switch op {
	case opGlobal:
		return true, m.global()
	case opStackGlobal:
		return true, m.stackGlobal()
	case opReduce, opNewObj:
		args, err := m.pop()
		if err != nil {
			return true, err
		}
		return true, m.call(args, nil)
	case opNewObjEx:
		kwargs, err := m.pop()
		if err != nil {
			return true, err
		}
		args, err := m.pop()
		if err != nil {
			return true, err
		}
		return true, m.call(args, kwargs)
	case opInst:
		return true, m.inst()
	case opObj:
		return true, m.obj()
	case opBuild:
		return true, m.build()
	case opPersID:
		id, err := m.line()
		if err != nil {
			return true, err
		}
		return true, m.persistent(id)
	case opBinPersID:
		id, err := m.pop()
		if err != nil {
			return true, err
		}
		return true, m.persistent(id)
	case opExt1, opExt2, opExt4:
		return true, errors.New("extension codes refer to the writer's registry and mean nothing here")
	}
	return false, nil
}

func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.pushNew(Global{module, name}, costString)
}

func (m *machine) stackGlobal() error {
	name, err := m.pop()
	if err != nil {
		return err
	}
	module, err := m.pop()
	if err != nil {
		return err
	}
	n, nameOK := name.(string)
	mod, moduleOK := module.(string)
	if !nameOK || !moduleOK {
		return fmt.Errorf("module and name are a %s and a %s, not text", TypeName(module), TypeName(name))
	}
	return m.pushNew(Global{mod, n}, costString)
}

// call handles REDUCE, NEWOBJ and NEWOBJ_EX: what is called lies on the stack.
func (m *machine) call(args, kwargs any) error {
	tuple, ok := args.(Tuple)
	if !ok {
		return fmt.Errorf("arguments are a %s, not a tuple", TypeName(args))
	}
	var named *Dict
	if kwargs != nil {
		if named, ok = kwargs.(*Dict); !ok {
			return fmt.Errorf("keyword arguments are a %s, not a dict", TypeName(kwargs))
		}
	}
	callee, err := m.pop()
	if err != nil {
		return err
	}
	class, ok := callee.(Global)
	if !ok {
		return fmt.Errorf("calls a %s, not a class or function", TypeName(callee))
	}
	return m.make(class, tuple, named)
}

// inst handles protocol 0's INST: the class is named in the opcode, the arguments lie above a MARK.
func (m *machine) inst() error {
	if err := m.global(); err != nil {
		return err
	}
	class, err := m.pop()
	if err != nil {
		return err
	}
	args, err := m.popMark()
	if err != nil {
		return err
	}
	return m.make(class.(Global), slices.Clone(args), nil)
}

// obj handles protocol 1's OBJ: the class is the first value above a MARK.
func (m *machine) obj() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return errors.New("no class above the MARK")
	}
	class, ok := items[0].(Global)
	if !ok {
		return fmt.Errorf("makes an instance of a %s, not of a class", TypeName(items[0]))
	}
	return m.make(class, slices.Clone(items[1:]), nil)
}

// make pushes the result of a call.
func (m *machine) make(class Global, args Tuple, kwargs *Dict) error {
	cost := costObject + costSlot*len(args)
	for _, a := range args {
		// What the call yields may be a copy of its arguments.
		switch a := a.(type) {
		case *List:
			cost += costEntry * len(a.Items)
		case string:
			cost += len(a)
		}
	}
	if err := m.charge(cost); err != nil {
		return err
	}
	if kwargs == nil || kwargs.Len() == 0 {
		if v, ok, err := builtin(class, args); ok || err != nil {
			return m.pushResult(class, v, err)
		}
		if m.cfg.Call != nil {
			if v, ok, err := m.cfg.Call(class, args); ok || err != nil {
				return m.pushResult(class, v, err)
			}
		}
	}
	return m.push(&Object{Class: class, Args: args, Kwargs: kwargs})
}

func (m *machine) pushResult(class Global, v any, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", class, err)
	}
	return m.push(v)
}

// build hands the topmost value, as state, to the one below.
func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *Object:
		if t.State != nil {
			return fmt.Errorf("%s gets its state twice", t.Class)
		}
		t.State = state
		return nil
	case *Dict:
		t.State = state
		return nil
	case Builder:
		return t.Build(state)
	}
	return fmt.Errorf("a %s takes no state", TypeName(target))
}

func (m *machine) persistent(id any) error {
	if m.cfg.Persistent == nil {
		return errors.New("refers to data outside the pickle")
	}
	v, err := m.cfg.Persistent(id)
	if err != nil {
		return err
	}
	return m.pushNew(v, costObject)
}
