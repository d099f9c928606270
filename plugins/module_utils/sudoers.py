# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads sudoers with all it includes, says who may become root by it, and takes single rights out of the text.

What cannot be understood stays as it is: visudo judges the result. Hosts given by address or netgroup count as ours.
"""
from __future__ import annotations

import fnmatch
import os
import re

LISTED = re.compile(r'(?:!\s*)*(?:"(?:\\.|[^"\\])*"|\\.|[^\s,="\\:!]|:(?!\s))+')
TAG = re.compile(r'\s*((?:NO)?(?:PASSWD|EXEC|SETENV|LOG_INPUT|LOG_OUTPUT|FOLLOW|MAIL|INTERCEPT))\s*:')
OPTION = re.compile(r'\s*(?:ROLE|TYPE|APPARMOR_PROFILE|PRIVS|LIMITPRIVS|TIMEOUT|CWD|CHROOT|NOTBEFORE|NOTAFTER)\s*=\s*'
                    r'(?:"[^"]*"|[^\s,])+')
ALIAS = re.compile(r'(User|Runas|Host|Cmnd|Cmd)_Alias\s')
INCLUDE = re.compile(r'[@#]include(dir)?\s+(?:"([^"]+)"|((?:\\.|\S)+))')
SHELLS = ('sh', 'bash', 'dash', 'zsh', 'ksh', 'fish', 'csh', 'tcsh', 'su', 'sudo', 'visudo')


def strip_comment(line):
    """`line` without its comment; a number sign before digits is a uid."""
    quoted = skip = False
    for i, char in enumerate(line):
        if skip:
            skip = False
        elif char == '\\':
            skip = True
        elif char == '"':
            quoted = not quoted
        elif char == '#' and not quoted and not line[i + 1:i + 2].isdigit() and (i == 0 or line[i - 1] in ' \t,'):
            return line[:i]
    return line


def cut(text, marks):
    """The positions of `marks` in `text` that are not quoted, escaped or in parentheses."""
    found, quoted, skip, depth = [], False, False, 0
    for i, char in enumerate(text):
        if skip:
            skip = False
        elif char == '\\':
            skip = True
        elif char == '"':
            quoted = not quoted
        elif not quoted:
            depth += (char == '(') - (char == ')')
            if depth == 0 and char in marks:
                found.append(i)
    return found


def pieces(text, mark):
    """`text` split at `mark` where that is not quoted, escaped or in parentheses."""
    ends = cut(text, mark)
    return [text[start:end] for start, end in zip([0] + [end + 1 for end in ends], ends + [len(text)])]


def read_list(text, at=0):
    """A comma separated list at `at`: (its members, where it ends)."""
    members = []
    while True:
        found = LISTED.match(text, at + len(text[at:]) - len(text[at:].lstrip()))
        if not found:
            return members, at
        members.append(found.group(0))
        at = found.end()
        comma = re.compile(r'\s*,').match(text, at)
        if not comma:
            return members, at
        at = comma.end()


class Item:
    """One command of a rule, with what stands before it; runas and tags hold for the following ones as well."""

    def __init__(self, text):
        self.runas, self.options, self.tags = '', '', []
        rest = text.strip()
        if rest.startswith('('):
            end = cut(rest[1:].replace('(', ' '), ')')[:1] or [rest.find(')') - 1]
            self.runas, rest = rest[:end[0] + 2], rest[end[0] + 2:]
        while True:
            found = OPTION.match(rest)
            if not found:
                break
            self.options += ' ' + found.group(0).strip()
            rest = rest[found.end():]
        while True:
            found = TAG.match(rest)
            if not found:
                break
            self.tags.append(found.group(1))
            rest = rest[found.end():]
        self.command = rest.strip()

    def __str__(self):
        return ' '.join(part for part in [self.runas, self.options.strip()] + [tag + ':' for tag in self.tags]
                        + [self.command] if part)


class Rule:
    """`users hosts = commands : hosts = commands`; parts is [(hosts, [Item])]."""

    def __init__(self, users, parts):
        self.users, self.parts = users, parts

    def __str__(self):
        return '{} {}'.format(', '.join(self.users), ' : '.join(
            '{} = {}'.format(', '.join(hosts), ', '.join(map(str, items))) for hosts, items in self.parts))

    @classmethod
    def parse(cls, text):
        """The rule in `text`; None where it is none."""
        users, at = read_list(text)
        hosts, at = read_list(text, at)
        if not users or not hosts or not text[at:].lstrip().startswith('='):
            return None
        parts, rest = [], text[text.index('=', at) + 1:]
        while True:
            for colon in cut(rest, ':'):
                following, end = read_list(rest, colon + 1)
                if following and rest[end:].lstrip().startswith('=') and not TAG.match(
                        re.split(r'[\s,]', rest[:colon])[-1] + ':') and not re.search(r'sha\d+$', rest[:colon]):
                    parts.append((hosts, [Item(piece) for piece in pieces(rest[:colon], ',')]))
                    hosts, rest = following, rest[rest.index('=', end) + 1:]
                    break
            else:
                parts.append((hosts, [Item(piece) for piece in pieces(rest, ',')]))
                return cls(users, parts)


class Line:
    """One logical line: what it is, and its text as it stands in the file."""

    def __init__(self, raw):
        self.raw, self.kind, self.value = raw, 'other', None
        text = re.sub(r'\\\r?\n[ \t]*', ' ', raw).strip()
        include = INCLUDE.match(text)
        text = strip_comment(text).strip() if not include else text
        if include:
            path = include.group(2) or re.sub(r'\\(.)', r'\1', include.group(3))
            self.kind, self.value = 'include', (include.group(1), path)
        elif text.startswith('Defaults'):
            found = re.match(r'Defaults(?:([@:>!])\s*((?:"[^"]*"|[^\s",]|,\s*)+))?\s+(.*)', text)
            if found:
                self.kind = 'defaults'
                self.value = [found.group(1) or '', found.group(2) or '',
                              [one.strip() for one in pieces(found.group(3), ',')]]
        elif ALIAS.match(text):
            kind, rest = text.split(None, 1)
            self.kind, self.value = 'alias', [kind, []]
            for one in pieces(rest, ':'):
                name, dummy, members = one.partition('=')
                self.value[1].append([name.strip(), [m.strip() for m in pieces(members, ',') if m.strip()]])
        elif text:
            rule = Rule.parse(text)
            if rule:
                self.kind, self.value = 'rule', rule

    def update(self):
        """Write `value` back into the text, because it was changed; a value that says nothing any more goes."""
        if self.kind == 'defaults':
            mark, whom, settings = self.value
            text = 'Defaults{}{} {}'.format(mark, whom, ', '.join(settings)) if settings else ''
        elif self.kind == 'alias':
            kind, named = self.value
            text = kind + ' ' + ' : '.join('{} = {}'.format(name, ', '.join(m)) for name, m in named) if named else ''
        else:
            text = str(self.value) if self.value.users else ''
        self.raw = text + '\n' if text else ''


class Sudoers:
    """All of sudo's policy files of a host. `read` is path -> text or None, `names` a directory -> its file names."""

    def __init__(self, read, names, hostname='localhost', start='/etc/sudoers'):
        self.read, self.list, self.hostname = read, names, hostname
        self.files, self.before, self.order = {}, {}, []
        self.load(start, 0)

    def load(self, path, depth):
        text = self.read(path)
        if text is None or depth > 8:
            return
        if path not in self.files:
            self.before[path] = text
            raws, raw = [], ''
            for line in text.splitlines(True):
                raw += line
                bare = line.rstrip('\r\n')
                if (len(bare) - len(bare.rstrip('\\'))) % 2 and bare != line and not raw.lstrip().startswith('#'):
                    continue
                raws.append(raw)
                raw = ''
            self.files[path] = [Line(raw) for raw in raws + [raw] if raw]
        for line in self.files[path]:
            self.order.append((path, line))
            if line.kind == 'include':
                is_dir, target = line.value
                target = os.path.normpath(os.path.join(os.path.dirname(path),
                                                       target.replace('%h', self.hostname.split('.')[0])))
                inner = [target] if not is_dir else [
                    os.path.join(target, name) for name in sorted(self.list(target))
                    if '.' not in name and not name.endswith('~')]
                for one in inner:
                    self.load(one, depth + 1)

    def changed(self):
        """{path: new text} of the files whose text is no longer what it was."""
        texts = {path: ''.join(line.raw for line in lines) for path, lines in self.files.items()}
        return {path: text for path, text in texts.items() if text != self.before[path]}

    def lines(self, kind):
        """(path, line) of one kind, in the order in which sudo reads them."""
        return [(path, line) for path, line in self.order if line.kind == kind and line.raw]

    # --- who and what

    def alias(self, kind, name):
        for _path, line in self.lines('alias'):
            if line.value[0] in kind:
                for known, members in line.value[1]:
                    if known == name:
                        return members
        return None

    def listed(self, members, test, kinds, depth=0):
        """True, False or None (not mentioned): the last member that fits decides, as in sudo."""
        verdict = None
        for member in members:
            bare = member.lstrip('! \t').strip('"')
            negated = member[:len(member) - len(member.lstrip('! \t'))].count('!') % 2
            inner = self.alias(kinds, bare) if depth < 8 and re.match(r'[A-Z][A-Z0-9_]*$', bare) else None
            found = self.listed(inner, test, kinds, depth + 1) if inner is not None else (True if test(bare) else None)
            if found is not None:
                verdict = found != bool(negated)
        return verdict

    def is_user(self, members, who):
        """`who` is dict(name, uid, groups, gids)."""
        def test(bare):
            bare = re.sub(r'\\(.)', r'\1', bare).replace('"', '')
            return (bare in ('ALL', who['name'], f'#{who["uid"]}')
                    or bare[:1] == '%' and bare[1:] in [*who['groups'], *(f'#{gid}' for gid in who['gids'])])
        return bool(self.listed(members, test, ('User_Alias',)))

    def is_here(self, hosts):
        short = self.hostname.split('.')[0]

        def test(bare):
            return (bare == 'ALL' or bare[:1] == '+' or re.match(r'[0-9.]+(/|$)|.*:.*:', bare)
                    or fnmatch.fnmatch(self.hostname, bare) or fnmatch.fnmatch(short, bare))
        return bool(self.listed(hosts, test, ('Host_Alias',)))

    def as_root(self, runas):
        """No runas means root; so does a list of users that holds root or ALL."""
        users = runas.strip('() \t').split(':')[0].strip()
        if not users:
            return not runas.strip('() \t').startswith(':')
        return bool(self.listed([one.strip() for one in users.split(',')],
                                lambda bare: bare in ('ALL', 'root', '#0'), ('Runas_Alias',)))

    def anything(self, command):
        """True where `command` lets one run whatever one likes, False where it forbids that, else None."""
        def test(bare):
            words = re.sub(r'^(?:sha\d+:\S+[\s,]*)+', '', bare).split()
            if not words:
                return False
            name = os.path.basename(words[0])
            if name in SHELLS:
                return not [word for word in words[1:] if word not in ('-', '-l', '-i', '-s', 'root', 'ALL')]
            return len(words) == 1 and (words[0] == 'ALL' or re.match(r'/\S*s?bin/\**$', words[0]) is not None)
        return self.listed([command], test, ('Cmnd_Alias', 'Cmd_Alias'))

    def walk(self, rule):
        """(item, its runas, whether it needs no password) of the parts of `rule` that hold on this host."""
        for hosts, items in rule.parts:
            runas, free = '', False
            for item in items:
                runas = item.runas or runas
                for tag in item.tags:
                    free = {'NOPASSWD': True, 'PASSWD': False}.get(tag, free)
                if self.is_here(hosts):
                    yield item, runas, free

    def rights(self, who):
        """What `who` gets: (none | some | password | nopasswd, where); password and nopasswd mean: anything as root."""
        level, where = 'none', ''
        for path, line in self.lines('rule'):
            if not self.is_user(line.value.users, who):
                continue
            for item, runas, free in self.walk(line.value):
                verdict = self.anything(item.command) if self.as_root(runas) else None
                if verdict:
                    level, where = 'nopasswd' if free else 'password', path
                elif verdict is False and item.command.lstrip('! \t') == 'ALL':
                    level, where = 'none', path
                elif level == 'none' and not item.command.startswith('!'):
                    level, where = 'some', path
        if level == 'password':
            for path, line in self.lines('defaults'):
                mark, whom, settings = line.value
                if '!authenticate' in settings and (not mark or mark == ':' and self.is_user(whom.split(','), who)):
                    level, where = 'nopasswd', path
        return level, where

    # --- taking away

    def take_away(self, names):
        """Take `names` (and their '#uid') out of every list of users."""
        gone, more = set(names), True

        def stays(member):  # a name that is excepted ('ALL, !bob') has to stay so
            bare = member.lstrip('! \t').strip('"')
            return bare not in gone or (member[0] == '!' and bare in names)

        while more:
            more = False
            for _path, line in self.lines('alias'):
                if line.value[0] != 'User_Alias':
                    continue
                kept = [[name, list(filter(stays, members))] for name, members in line.value[1]]
                if kept != line.value[1]:
                    empty = {name for name, members in kept if not members}
                    line.value[1] = [one for one in kept if one[1]]
                    line.update()
                    more = more or bool(empty - gone)
                    gone |= empty
        for _path, line in self.lines('rule'):
            kept = list(filter(stays, line.value.users))
            if kept != line.value.users:
                line.value.users = kept if any(user[0] != '!' for user in kept) else []
                line.update()
        for _path, line in self.lines('defaults'):
            mark, whom, settings = line.value
            kept = [user.strip() for user in whom.split(',') if stays(user.strip())]
            if mark == ':' and len(kept) != len(whom.split(',')):
                line.value = [mark, ', '.join(kept), settings if kept else []]
                line.update()

    def ask_password(self, rule_for):
        """Make every NOPASSWD for anything-as-root ask, in rules whose users pass `rule_for`. Returns their paths."""
        done = []
        for path, line in self.lines('rule'):
            if not rule_for(line.value.users):
                continue
            changed = False
            blanket = {id(item) for item, runas, free in self.walk(line.value)
                       if free and self.as_root(runas) and self.anything(item.command)}
            for _hosts, items in line.value.parts if blanket else ():
                free = now = False
                for item in items:
                    for tag in item.tags:
                        free = {'NOPASSWD': True, 'PASSWD': False}.get(tag, free)
                    wanted = free and id(item) not in blanket
                    tags = [tag for tag in item.tags if tag not in ('NOPASSWD', 'PASSWD')]
                    if wanted != now:
                        tags.insert(0, 'NOPASSWD' if wanted else 'PASSWD')
                    changed = changed or tags != item.tags
                    item.tags, now = tags, wanted
            if changed:
                line.update()
                done.append(path)
        return done

    def drop_defaults(self, unwanted):
        """Take out every setting for which unwanted(mark, whom, name, value) holds; '!name' is name with value None."""
        done = []
        for path, line in self.lines('defaults'):
            mark, whom, settings = line.value
            kept = []
            for setting in settings:
                found = re.match(r'(!*)\s*(\w+)\s*(?:[+-]?=\s*(.*))?$', setting)
                value = found and (None if len(found.group(1)) % 2 else (found.group(3) or '').strip('"'))
                if not found or not unwanted(mark, whom, found.group(2), value):
                    kept.append(setting)
                else:
                    done.append((path, setting))
            if kept != settings:
                line.value[2] = kept
                line.update()
        return done
