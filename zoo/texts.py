"""Real words and sentences, for rendering and for the language models."""

from __future__ import annotations

_WORDS = """
    account address amount annual apple April archive August balance bank basic beach Berlin board
    bridge budget building camera capital carbon castle center chapter Chicago city clear coffee college
    company contract copper country credit current daily data December delivery design doctor dollar
    early east editor energy engine evening express family February final flight forest Friday garden
    general glass global gold grand green group harbor health history hotel House January journal June
    kitchen language large library light London machine market matter member metal minute model Monday
    morning museum music nature network night north notice November number ocean October office orange
    order Oxford paper Paris park payment people person picture planet point power price product public
    quality quarter question radio receipt record report result river school science season second
    September service silver small south special square station steel stone street student summer Sunday
    supply system table teacher theory ticket Tokyo total tower travel Tuesday union valley value
    village water weather Wednesday west window winter world yellow young zero
"""
WORDS = tuple(_WORDS.split())
THAI = (
    "ประเทศไทยมีกรุงเทพมหานครเป็นเมืองหลวง",
    "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะ",
    "ฉันชอบกินข้าวผัดกับไข่ดาว",
    "เขาทำงานที่โรงพยาบาลในจังหวัดเชียงใหม่",
    "รถไฟขบวนนี้จะออกเวลา 8 โมงเช้า",
    "เด็กนักเรียนกำลังอ่านหนังสืออยู่ในห้องสมุด",
)
