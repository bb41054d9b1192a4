echo hi
%%
echo 'a
b'
%%
echo "a
$(ls
 -l) ${x:-
} `date
`"
%%
for i in 1 2 3
do echo $i
done
%%
for ((i=0; i<10; i++)); do
 echo $((i << 2))
done
%%
if true
then
  echo yes
elif false; then
  :
else
  echo no
fi
%%
case $x in
  a) echo a ;;
  (b|c) echo b;;
  if) echo if;;
  *) 
   echo other
esac
%%
case x in x) echo;; esac
%%
cat <<EOF
one
 EOF
EOF
%%
cat <<-'END' | tr a b
	text 'unbalanced
	END
%%
cat <<A; cat <<B
1
A
2
B
%%
f() {
 echo hi
}
%%
f()
{
 echo
}
%%
function g {
  case $1 in
   (a) echo "x)"; ;;
  esac
}
%%
ls |
 wc -l
%%
true &&
 false ||
 echo
%%
echo a \
 b
%%
x=(1 2
 3 # comment )
 4)
%%
[[ a == b &&
 c == d ]]
%%
( cd /tmp
 ls )
%%
{ echo a
 echo b; }
%%
echo fi done esac if
%%
echo # a ' comment
%%
echo a#b 'x
'
%%
while read -r l; do echo "$l"; done < <(ls
)
%%
echo $'it\'s
ok'
%%
if true; then echo; fi | while :; do
 break; done
%%
a=$(cat <<E
text ) here
E
)
%%
echo $(( 1 +
 2 ))
%%
(( x = 1 << 3 ))
%%
echo ${a/\}/x
}
%%
! true
%%
time {
 ls; }
%%
until false; do
 :
 done &
%%
select x in a b
do break
done
%%
echo "a\
b"
%%
echo <<<word
%%
cat <<<"a
b"
%%
echo }
%%
echo x; } 
%%
fi
%%
echo a | (
 cat)
%%
true && {
 echo x
}
%%
echo case in
%%
for x in if then
do :
done
%%
[[ $a =~ ^(x|y)$ ]] && echo a
%%
case "$(
 echo a)" in
 a) ;;
esac
%%
if [[ -n $x ]]; then
 echo
fi
%%
echo &
%%
f() ( echo a
 echo b )
%%
for f in *.txt; do mv "$f" "${f%.txt}.md"; done
%%
echo a; # comment
%%
true || # why
 false
%%
export A=b B="c
d"
%%
declare -A m=([a]=1
[b]=2)
%%
echo $(case x in x) echo y;; esac)
%%
while :
do
  if x
  then
     case y in
       z) for i in 1; do
          :
          done
       ;;
     esac
  fi
  break
done
%%
echo \
%%
echo "`ls "a
b"`"
%%
echo ")" "("
%%
echo a)b
%%
for i in {1..3}; do echo $i
done
%%
select=3; echo $select
%%
echo hi > out 2>&1 <in
%%
if ! grep -q x f; then
:
fi
%%
coproc cat
%%
exec 3<<X
a
X
%%
case a in a|
b) :;; esac
%%
case a
in a) if x; then
 y; fi ;;
 b) { :
 } ;& *) ( ls
 ) ;;
esac
%%
x=$(if true
then echo 1
fi)
%%
: ${a:=$(ls
)} "${b:-"x
"}"
%%
if (ls) then
 echo
fi
%%
>out ls
%%
a=1 if
%%
FOO=bar while
%%
function f() {
 :
}
%%
cat << "E O"
x
E O
%%
cat <<\E
$(
E
%%
diff <(ls a) <(
ls b)
